"""The bench of a GPU, on tiny shapes and a CPU: each part gives its figures, a failure is a sentence."""

import pytest
import torch

from llmft_core import jobs
from llmft_core.bench import gpu, gpu_attention, gpu_evaluate, gpu_peak, gpu_train
from llmft_core.cli import main, printing

TINY = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 8192,
}  # fmt: skip
BASE = {"device": "cpu", "budget": 0.0, "rounds": 1, "examples": 16, "seed": 1, "tflops": 0.1, "data_dir": None}
SMALL = {"widest": [64], "tokens": 600, "size": 64}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_counts_the_same_examples_and_more_work_where_nothing_is_shared(method):
    *_, found, _ = gpu_train.measure(BASE | {"shape": TINY, "method": method})
    packed, padded = found["ways"]["packed"], found["ways"]["padded"]
    assert packed["examples"] == padded["examples"] == BASE["examples"]
    assert packed["tokens"] < padded["tokens"] and 0 < packed["flops"] < padded["flops"]
    assert packed["of_peak"] == pytest.approx(packed["flops"] / packed["seconds"] / 1e11)


def test_flops_are_those_of_the_formula():
    lm = gpu_train._pupil(BASE | {"shape": TINY, "method": "full"})
    taught = gpu_train.lessons(lm, "sst2", BASE | {"examples": 1})
    (layout,) = gpu_train.train.lay_out_lessons(lm, taught)
    n = layout.ids.shape[1]  # one example alone: each token sees itself and all before it
    per_layer = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64
    rest = 2 * (per_layer + 2 * 32) + 32  # and the norms
    head, targets = 8192 * 32, len(taught[0].answer)
    assert gpu_train._flops(lm, layout) == 6 * (rest * n + head * targets) + 12 * 2 * 4 * 8 * n * (n + 1) / 2


def test_lessons_come_from_rows_where_there_are_some(tmp_path):
    import pandas as pd

    (tmp_path / "sst2").mkdir()
    rows = pd.DataFrame({"idx": range(4), "sentence": ["A dull film.", "A fine film."] * 2, "label": [0, 1] * 2})
    for split in ("train", "validation"):
        rows.to_parquet(tmp_path / "sst2" / f"{split}.parquet")
    lm = gpu_peak.model_of(BASE | {"shape": TINY}, torch.float32)
    (first, *_) = gpu_train.lessons(lm, "sst2", BASE | {"data_dir": str(tmp_path)})
    assert "film" in lm.tokenizer.decode(first.prompt.ids)


def test_evaluation_answers_both_tasks_both_ways():
    *_, found, _ = gpu_evaluate.measure(BASE | {"shape": TINY})
    assert set(found["ways"]) == {"sst2 packed", "sst2 padded", "squad_v2 packed", "squad_v2 padded"}
    assert all(one["examples"] == BASE["examples"] for one in found["ways"].values())


def test_block_masks_and_dense_masks_agree():
    *_, found, _ = gpu_attention.measure(BASE | SMALL)
    (one,) = found["layouts"]
    assert one["gap"] < 1e-4 and 0 < one["visible"] < 0.5


def test_a_way_that_fails_is_a_sentence_and_the_others_go_on():
    def fail(budget: float) -> dict:
        raise MemoryError("no more of it")

    ways = {"bad": fail, "good": lambda budget: {"examples": 3}}
    found = gpu_peak.in_turn(ways, 2, 0.0, torch.device("cpu"))
    assert found["bad"] == "MemoryError: no more of it"
    assert found["good"]["examples"] == 6


def test_the_report_has_a_sentence_for_each_part_that_failed_and_people_can_read_it(monkeypatch, capfd):
    def call(name: str, request: dict) -> dict:
        module, function = request["where"].removeprefix("llmft_core.bench.").split(":")
        tiny = request["request"] | BASE | SMALL
        if "shape" in tiny:
            if "gemma" in tiny["shape"] and tiny.get("method") == "full":
                raise jobs.CallFailed("Out of memory.")
            tiny |= {"shape": TINY}
        part = {"gpu_peak": gpu_peak, "gpu_train": gpu_train, "gpu_evaluate": gpu_evaluate}.get(module, gpu_attention)
        return {"results": getattr(part, function)(tiny)[2], "about": {"threads": 1}}

    monkeypatch.setattr(gpu.jobs, "call", call)
    monkeypatch.setattr(gpu_train, "_layers", lambda lm: [])
    monkeypatch.setattr(gpu_train, "COMPILING", 0.0)
    report = gpu.run({"examples": 16, "rounds": 1, "data_dir": None}, lambda line: None)
    assert report["models"]["gemma-2-2b-shape"]["full"] == "Out of memory."
    assert report["models"]["llama-3.2-1b-shape"]["lora"]["ways"]["packed"]["examples"] == 16
    printing.table(*gpu.table(report))
    assert "gemma-2-2b-shape, full: Out of memory." in capfd.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_one_sentence_says_so(capfd):
    assert main(["bench", "gpu"]) == 2
    said = capfd.readouterr().err
    assert said.strip().endswith(gpu_peak.NO_GPU) and said.count("\n") == 1
