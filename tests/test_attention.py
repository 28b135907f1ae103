"""The attention that learns faster teaches the same, is taken where it pays, and is given back."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from llmft_core.engine import attention, exact, load, train
from llmft_core.engine.prompts import Encoded

LESSONS = [
    train.Lesson(Encoded((5, 6, 7, 8), (9, 10)), (20, 2)),
    train.Lesson(Encoded((5, 6, 7, 8), (11, 12, 13)), (21, 22, 2)),
    train.Lesson(Encoded((30, 31), (9,)), (23, 2)),
]


@pytest.fixture
def lm(tmp_path):
    return load.load(str(tiny.llama(tmp_path / "model")), full=True)


@pytest.fixture
def has_bf16(monkeypatch):
    monkeypatch.setattr(load, "trains_mixed", lambda lm: True)


def used(lm) -> str:
    return lm.causal.config._attn_implementation


def learnt(lm, implementation: str, mixed: bool = False) -> tuple[float, torch.Tensor]:
    """Loss and gradients of one pass, as one vector."""
    (layout,) = train.lay_out_lessons(lm, LESSONS)
    with attention.switched(lm, implementation), torch.autocast("cpu", torch.bfloat16, mixed):
        loss = train.answer_loss(lm, layout)
    return float(loss.detach()), torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*lm.model.parameters()])])


def test_it_teaches_the_same(lm):
    loss, gradient = learnt(lm, "sdpa")
    other, found = learnt(lm, "eager")
    assert other == pytest.approx(loss, rel=1e-5)
    assert (found - gradient).norm() < 1e-4 * gradient.norm()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_it_teaches_the_same_in_bf16_but_for_rounding(lm, implementation):
    loss, gradient = learnt(lm, implementation)
    rounded, found = learnt(lm, implementation, mixed=True)
    assert rounded == pytest.approx(loss, rel=1e-2)
    assert (found - gradient).norm() < 0.05 * gradient.norm()


def test_it_is_given_back_whatever_happens(lm):
    with pytest.raises(KeyboardInterrupt), attention.switched(lm, "eager"):
        assert used(lm) == "eager"
        raise KeyboardInterrupt
    assert used(lm) == "sdpa"


def test_a_small_model_takes_it_where_bf16_is_at_hand(lm, has_bf16):
    assert attention.to_learn_with(lm, 100) == "eager"
    assert used(lm) == "sdpa"


@pytest.mark.parametrize("why", ["large", "no bf16", "no trees", "not exact", "fails", "cannot switch"])
def test_sdpa_stays_where_the_other_does_not_pay(lm, why, monkeypatch, caplog):
    monkeypatch.setattr(load, "trains_mixed", lambda lm: why != "no bf16")
    if why == "not exact":
        monkeypatch.setattr(exact, "_is_exact", lambda *_: False)
    if why == "fails":
        monkeypatch.setattr(exact, "_is_exact", lambda *_: 1 / 0)
    if why == "cannot switch":
        monkeypatch.setattr(type(lm.causal), "set_attn_implementation", lambda self, name: None)
    given = replace(lm, bears_trees=why != "no trees")
    assert attention.to_learn_with(given, 100_000 if why == "large" else 100) == "sdpa"
    assert used(lm) == "sdpa"
    assert caplog.text == ""


def test_steps_are_learnt_with_it_and_probes_answered_without(lm, has_bf16, monkeypatch, tmp_path: Path):
    heard, loss = [], train.answer_loss
    monkeypatch.setattr(train, "answer_loss", lambda lm, *given: heard.append(used(lm)) or loss(lm, *given))
    schooling = train.Schooling(1, batch_size=1, learning_rate=1e-3, patience=0, seed=1, probes=1)

    def probe(step: int) -> dict[str, float]:
        heard.append(f"{used(lm)} probe")
        return {"accuracy": 1.0}

    train.teach(lm, LESSONS, schooling, tmp_path / "run", lambda progress: None, probe)
    assert heard == ["eager"] * 3 + ["sdpa probe"]
