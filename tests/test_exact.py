"""A model is tried when it is loaded: it bears prompt trees, or each prompt has a row of its own, or it is refused."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from llmft_core import config, runs
from llmft_core.bench import packing_work
from llmft_core.cli.follow import Lines
from llmft_core.engine import exact, load, reading, score
from llmft_core.engine.prompts import Prompter
from llmft_core.events import Note
from llmft_core.tasks.base import Prompt
from llmft_core.worker import recipe
from llmft_core.worker.reasons import explain


def without(lm, argument):
    """The same model, made deaf to one argument of its forward pass."""
    forward = type(lm.causal).forward

    @functools.wraps(forward)
    def deaf(*args, **called):
        return forward(lm.causal, *args, **(called | {argument: None}))

    lm.causal.forward = deaf
    return lm


@pytest.mark.parametrize(
    ("kind", "bears_trees", "changes"),
    [
        ("gpt2", True, {}),
        ("qwen3", True, {}),
        ("mistral", True, {"sliding_window": 300}),  # wider than the trial, so it is made narrow for it
        ("bloom", False, {}),
        ("mamba", False, {}),
        ("lfm2", False, {}),
        ("gpt_neo", False, {}),  # its window of 256 is built in, and wider than the trial
        ("openai-gpt", False, dict(n_embd=32, n_layer=2, n_head=4)),  # remembers nothing from token to token
    ],
)
def test_each_architecture_is_as_exact_as_it_was_found_to_be(tmp_path, caplog, kind, bears_trees, changes):
    lm = load.load(str(tiny.other(kind, tmp_path / "model", **changes)))
    assert lm.bears_trees is bears_trees
    assert bool([r for r in caplog.records if "own" in r.message]) is not bears_trees, "what is slower is told"
    assert getattr(lm.causal.config, "sliding_window", None) == changes.get("sliding_window")
    prompter = Prompter(lm.tokenizer)
    prompts = [
        Prompt(f"Read text {p}.\nThe fox slept.\n", f"Question: who {'really ' * q}ran?\nAnswer:")
        for p in range(2)
        for q in range(3)
    ]
    prompts, counted = prompter.encode_all(prompts, 400, 16), []
    for names in (("good", "bad"), ("very good indeed", "rather bad")):
        labels = prompter.labels(names)
        counted.clear()
        packed = score.label_scores(lm, prompts, labels, counted.append)
        assert counted == sorted(counted) and counted[-1] == 6
        np.testing.assert_allclose(packed, [alone_scores(lm, prompt, labels) for prompt in prompts], atol=1e-3)
    counted.clear()
    written = score.write(lm, prompter, prompts, 5, "unanswerable", counted.append, stops=set())
    assert counted == sorted(counted) and counted[-1] == 6
    for prompt, found in zip(prompts, written, strict=True):
        assert list(found.ids) == alone_answer(lm, prompt, 5)


@torch.inference_mode()
def alone_scores(lm, prompt, labels):
    plain = []
    for label in labels:
        log_probs = lm.model(torch.tensor([prompt.ids + label])).logits[0].float().log_softmax(-1)
        plain.append(sum(float(log_probs[len(prompt.ids) + at - 1, token]) for at, token in enumerate(label)))
    return plain - np.logaddexp.reduce(plain)


@torch.inference_mode()
def alone_answer(lm, prompt, length):
    ids = list(prompt.ids)
    for _ in range(length):
        ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-length:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["mini", "gemma2"])
def test_mask_or_positions_that_are_not_heeded_are_noticed_in_any_precision(tmp_path, name, dtype):
    lm = load.load(str(tiny.gemma2(tmp_path / "model")) if name == "gemma2" else name)
    lm = replace(lm, model=lm.model.to(dtype))
    assert exact.checked(lm).bears_trees, "rounding is no mistake"
    for argument in ("attention_mask", "position_ids"):
        assert not exact.checked(without(lm, argument)).bears_trees


def test_window_that_is_wider_than_the_trial_is_met(tmp_path, monkeypatch):
    lm = load.load(str(tiny.other("mistral", tmp_path / "model", sliding_window=300)))
    monkeypatch.setattr(reading, "masks", lambda lm, visible, *_: reading._as_mask(lm, visible))
    assert not exact.checked(lm).bears_trees, "a mask without the window gives other results"


def test_model_that_looks_ahead_is_refused(tmp_path):
    folder = tiny.other("bert", tmp_path / "model", is_decoder=False)
    with pytest.raises(ValueError, match="choose a causal language model") as caught:
        load.load(str(folder))
    assert explain(caught.value) == ("bad-config", str(caught.value))


def test_model_whose_training_went_astray_is_told_so(tmp_path):
    lm = load.load(str(tiny.llama(tmp_path / "model")))
    with torch.no_grad():
        lm.model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    lm.model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="not numbers: its training went astray; .* lower --learning-rate") as caught:
        load.load(lm.source)
    assert explain(caught.value) == ("bad-config", str(caught.value))


def test_lack_of_memory_in_the_trial_is_not_taken_for_a_verdict(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(exact, "_is_exact", full)
    with pytest.raises(ValueError, match="causal") as caught:
        load.load(str(tiny.llama(tmp_path / "model")))
    assert explain(caught.value)[0] == "out-of-memory"


def test_run_of_a_model_without_trees_says_so_and_finishes(tmp_path):
    folder = tiny.other("bloom", tmp_path / "model")
    small = dict(train_examples=16, eval_examples=6, epochs=1, batch_size=8, probe_examples=0, learning_rate=1e-2)
    run, said = runs.create(config.make(model=str(folder), task="sst2", **small)), []
    recipe.run(run, said.append, lambda: False)
    (note,) = [event.text for event in said if isinstance(event, Note)]
    assert "BloomForCausalLM" in note and "slower" in note
    assert run.metrics()["prompt_tree"] is False and run.metrics()["n"] == 6
    assert (run.weights()["relative_change"] > 0).any()


def test_terminal_shows_a_note(capsys):
    Lines().show(Note("Each prompt has a row of its own."))
    assert "Each prompt has a row of its own." in capsys.readouterr().err


def test_there_is_nothing_to_bench_without_trees(tmp_path):
    with pytest.raises(ValueError, match="nothing to compare"):
        request = {"task": "sst2", "data_dir": None, "examples": 8, "rounds": 1}
        packing_work.measure(request | {"model": str(tiny.other("bloom", tmp_path / "model"))})


def test_architecture_that_takes_no_lora_is_told_what_to_do(tmp_path):
    lm = load.load(str(tiny.other("mamba", tmp_path / "model")))
    with pytest.raises(ValueError, match="use --method full"):
        load.with_new_adapter(lm, 4)
