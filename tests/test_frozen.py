"""Frozen matrices in bf16 while an adapter learns: the same is learnt, bit for bit, and after it all is as before."""

import pytest
import tiny
import torch

from llmft_core.engine import frozen, load, train
from llmft_core.engine.prompts import Prompter
from llmft_core.tasks.base import Prompt


@pytest.fixture(params=["llama", "gemma2"])
def school(request, tmp_path, monkeypatch):
    """A tiny model with weights that bf16 holds, an adapter on all its layers, and twelve lessons."""
    monkeypatch.setattr(load, "has_bf16", lambda device: True)
    lm = load.load(str(getattr(tiny, request.param)(tmp_path / "model")))
    for parameter in lm.model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    torch.manual_seed(0)
    lm = load.with_new_adapter(lm, 4, embeddings=True)
    prompter = Prompter(lm.tokenizer)
    prompts = [Prompt(f"Read text {n % 3}.\n", f"Question: say fox {n}.\nAnswer:") for n in range(12)]
    answers = [prompter.answer(("fox", "hill")[n % 2]) for n in range(12)]
    return lm, [train.Lesson(*both) for both in zip(prompter.encode_all(prompts, lm.context, 8), answers, strict=True)]


SCORE = {"f1": 0.5}


def learn(school, folder, probe, patience=0, **more):
    lm, lessons = school
    schooling = train.Schooling(2, 4, 1e-2, patience=patience, seed=1, probes=3, headline="f1")
    losses = []
    train.teach(lm, lessons, schooling, folder, lambda progress: losses.append(progress.loss), probe, **more)
    return losses, {name: p.detach().clone() for name, p in lm.model.named_parameters()}


def test_every_matrix_under_an_adapter_is_stored_in_half_the_room(school):
    lm, _ = school
    found = {id(weight) for weight in frozen.matrices(lm.model)}
    names = {name for name, parameter in lm.model.named_parameters() if id(parameter) in found}
    assert len(names) == 2 * 7 and all(name.endswith("_proj.base_layer.weight") for name in names)
    assert frozen.matrices(lm.causal.model.layers[0].input_layernorm) == []


def test_what_is_learnt_is_the_same_and_all_is_as_before(school, tmp_path, monkeypatch):
    lm, _ = school
    start = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    passes, probes, loss = [], [], train.answer_loss
    monkeypatch.setattr(train, "answer_loss", lambda *a: passes.append(len(frozen.matrices(lm.model))) or loss(*a))
    losses, after = learn(school, tmp_path / "a", lambda step: probes.append(len(frozen.matrices(lm.model))) or SCORE)
    assert set(passes) == {0} and set(probes) == {2 * 7}, "bf16 to learn with, float32 for a probe"
    assert all(p.dtype == torch.float32 for p in after.values())
    assert all(torch.equal(after[name], p) for name, p in start.items() if "lora_" not in name)

    for name, parameter in lm.model.named_parameters():
        parameter.data = start[name].clone()
    monkeypatch.setattr(frozen, "matrices", lambda model: [])
    plain, again = learn(school, tmp_path / "b", lambda step: SCORE)
    assert plain == losses and all(torch.equal(again[name], p) for name, p in after.items())


def test_the_best_checkpoint_and_a_resumed_run_find_float32(school, tmp_path):
    lm, _ = school
    scores = iter((0.9, 0.1, 0.1, 0.1))
    losses, best = learn(school, tmp_path / "best", lambda step: {"f1": next(scores)}, patience=2)
    assert all(p.dtype == torch.float32 for p in best.values())
    stops = iter((False, True))
    folder = tmp_path / "stopped"
    learn(school, folder, lambda step: SCORE, should_stop=lambda: next(stops))
    assert len(frozen.matrices(lm.model)) == 2 * 7
    learn(school, folder, lambda step: SCORE, resume=True)
    assert len(frozen.matrices(lm.model)) == 2 * 7


def test_a_matrix_that_bf16_does_not_hold_stays_as_it_is(school):
    lm, _ = school
    first, *rest = frozen.matrices(lm.model)
    with torch.no_grad():
        first[-1, -1] = 0.1
    assert {id(weight) for weight in frozen.matrices(lm.model)} == {id(weight) for weight in rest}


def test_what_is_learnt_stays_in_float32(school):
    lm, _ = school
    assert frozen.matrices(lm.model.unload()) == [], "no adapter: full fine-tuning"


def test_an_error_leaves_the_weights_as_they_were(school):
    weights = frozen.matrices(school[0].model)
    before = [weight.detach().clone() for weight in weights]
    with pytest.raises(RuntimeError), frozen.stored_in(torch.bfloat16, weights):
        assert {weight.dtype for weight in weights} == {torch.bfloat16}
        with frozen.stored_in(torch.float32, weights):
            assert {weight.dtype for weight in weights} == {torch.float32}
        assert {weight.dtype for weight in weights} == {torch.bfloat16}
        raise RuntimeError("memory")
    assert all(torch.equal(*both) for both in zip(weights, before, strict=True))
