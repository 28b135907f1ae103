"""The bench of scaling, with tiny models in this process: points, rows and passes as asked, and the fit beside them."""

import json
import threading

import pytest
import torch
from test_bench_gpu import TINY

from llmft_core import files, jobs
from llmft_core.bench import scaling, scaling_fit, scaling_work
from llmft_core.cli import main, printing

POINT = {"paragraph": 12, "questions": 3, "question": 6, "budget": 64, "tokens": 90, "way": "packed"}
SMALL = {"paragraph": 12, "question": 6, "budget": 64, "tokens": 60}


def request(*points, **more):
    return {"model": TINY, "rounds": 2, "seed": 1, "points": [POINT | point for point in points]} | more


def passes(**more):
    """Shapes [rows, tokens] of the passes of training and of evaluation at one point."""
    pupil, seen = scaling_work._pupil(request()), []
    point = POINT | more
    works = scaling_work._works(pupil, point, scaling_work.count(point), 1)
    pupil.causal.register_forward_pre_hook(lambda _, args, given: seen.append(given["input_ids"].shape), with_kwargs=1)
    found = {}
    for name, work in works.items():
        work()
        found[name] = [tuple(shape) for shape in seen]
        seen.clear()
    return found


@pytest.mark.parametrize(
    ("way", "wanted"),
    [("packed", [(2, 30)] * 2), ("rows", [(3, 18)] * 4), ("one by one", [(1, 18)] * 12)],
)
def test_trees_have_exactly_the_tokens_and_fill_exactly_the_passes(way, wanted):
    tokens = {"way": way, "tokens": 120}
    assert passes(**tokens) == {"train": wanted, "evaluate": wanted}


def test_a_pass_as_small_as_it_gets_holds_one_tree():
    assert passes(budget=8, tokens=60)["train"] == [(1, 30)] * 2


def test_each_point_says_what_it_took():
    seconds, n, found, _ = scaling_work.measure(request({}, {"paragraph": 20}))
    first, second = found["points"]
    assert n == 2 and seconds > 0
    assert (first["tokens"], second["tokens"], second["trees"]) == (30, 38, 2)
    assert set(first["seconds"]) == {"train", "evaluate"} and min(first["seconds"].values()) > 0
    lm = scaling_work.gpu_peak.model_of({"device": "cpu", "shape": TINY, "seed": 1}, torch.float32)
    assert found["parameters"] == sum(p.numel() for p in lm.model.parameters())


def test_training_has_gradients_of_the_adapter_alone():
    pupil = scaling_work._pupil(request())
    works = scaling_work._works(pupil, POINT, 2, 1)
    works["train"]()
    given = {name for name, p in pupil.model.named_parameters() if p.grad is not None}
    assert given and all("lora_" in name for name in given)
    assert works["evaluate"]().shape == (6, 2)


def test_random_prompts_come_again_with_their_seed_and_share_their_paragraphs():
    one, again, other = (scaling_work.prompts(POINT, 2, 50, seed, 6) for seed in (1, 1, 2))
    assert one == again != other
    assert [prompt.prefix for prompt in one] == [one[0].prefix] * 3 + [one[3].prefix] * 3
    assert one[0].prefix != one[3].prefix and {len(prompt.ids) for prompt in one} == {18}


def test_too_long_a_paragraph_is_refused():
    with pytest.raises(ValueError, match="choose another model"):
        scaling_work.measure(request({"paragraph": 80}, model=TINY | {"max_position_embeddings": 64}))


def test_processes_wait_for_each_other_and_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling_work, "PATIENCE", 0.01)
    meeting = {"folder": str(tmp_path), "n": 2}
    with pytest.raises(TimeoutError):
        scaling_work._meet(meeting, 0)
    (tmp_path / "1-other").touch()
    scaling_work._meet(meeting, 1)
    assert len(list(tmp_path.glob("1-*"))) == 2


def test_the_fit_finds_the_coefficients_that_made_the_data():
    tokens = [128, 160, 224, 352, 480, 544]
    found = scaling_fit.fit(tokens, [3e-4 * t + 2e-7 * t**2 for t in tokens])
    assert found == pytest.approx({"a": 3e-4, "b": 2e-7, "r2": 1.0})
    noisy = scaling_fit.fit(tokens, [3e-4 * t * (1 + (-1) ** t / 10) + 1e-3 * i for i, t in enumerate(tokens)])
    assert 0 < noisy["r2"] < 1
    falling = scaling_fit.fit(tokens, [t**0.5 for t in tokens])  # less than linear: attention cannot give time back
    assert falling["b"] == 0 and falling["a"] > 0


def test_the_predicted_gain_is_that_of_the_formula():
    linear, square = {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}
    assert scaling_fit.gain(linear, 100, 4, 20) == pytest.approx(4 * 120 / 180)
    assert scaling_fit.gain(square, 100, 4, 20) == pytest.approx(4 * 120**2 / 180**2)
    assert scaling_fit.gain({"a": 2.0, "b": 0.5}, 100, 1, 20) == pytest.approx(1.0)


@pytest.fixture
def children_here(monkeypatch):
    """Children in this process, one at a time, with tiny models and a few tokens; the widest pass fails."""
    lock = threading.Lock()

    def timed(what, asked, is_quick=True):
        given = json.loads(files.to_json(asked["request"])) | {"model": TINY, "threads": 1, "meeting": None}
        if given["points"][0]["budget"] == max(scaling.PASSES):
            raise jobs.CallFailed("Out of memory.")
        with lock:
            _, _, found, _ = scaling_work.measure(given)
        return {"results": found, "about": {"threads": 2}}, 1.0, 5 << 20

    monkeypatch.setattr(jobs, "timed", timed)
    for name, value in {"PARAGRAPHS": (4, 8), "QUESTIONS": (1, 2), "PASSES": (32, 64), "GAINS": ((8, 2),)}.items():
        monkeypatch.setattr(scaling, name, value)
    monkeypatch.setattr(scaling, "POINT", scaling.POINT | SMALL | {"budget": 48})


def test_the_report_has_every_curve_and_people_can_read_it(children_here, capfd):
    assert main(["bench", "scaling", "--rounds", "1", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    curves = {name: curve["points"] for name, curve in report["curves"].items()}
    assert {name: len(points) for name, points in curves.items()} == {
        "paragraph": 2, "questions": 2, "budget": 2, "model": 4, "processes": 3,
    }  # fmt: skip
    assert curves["budget"][1] == {"at": 64, "failed": "Out of memory."}
    alone, together, _ = curves["processes"]
    assert (alone["peak_memory_mib"], together["peak_memory_mib"]) == (5, 10)
    assert together["tokens_per_second"]["train"] == pytest.approx(sum(one["train"] for one in together["each"]))
    assert set(report["fit"]["train"]) == {"a", "b", "r2"}
    (gain,) = report["gains"]
    size = {name: gain[name] for name in ("paragraph", "questions", "question")}
    assert gain["train"]["predicted"] == round(scaling_fit.gain(report["fit"]["train"], **size), 2)
    printing.table(*scaling.table(report))
    said = capfd.readouterr().out
    assert "64 padded tokens in a pass: Out of memory." in said
    assert "2 questions on 8 tokens, times as fast as one by one" in said


def test_what_there_is_no_time_for_is_left_out_and_said(children_here, monkeypatch):
    monkeypatch.setattr(scaling, "WITHIN", -1.0)
    report = scaling.run({"model": "mini", "rounds": 1}, lambda line: None)
    assert "failed" not in report["curves"]["paragraph"]["points"][0]
    assert all("left out" in point["failed"] for point in report["curves"]["model"]["points"])


def test_two_processes_share_the_threads_of_one():
    assert scaling.company(4) == [(1, 4), (2, 4), (2, 2)]
    assert scaling.company(1) == [(1, 1), (2, 1)]


def test_the_shapes_are_of_the_sizes_that_are_said():
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = []
    for shape in scaling.MODELS:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape, tie_word_embeddings=True))
        sizes.append(round(sum(p.numel() for p in model.parameters()) / 1e6, 1))
    assert sizes == [1.6, 6.5, 12.8, 24.8]
