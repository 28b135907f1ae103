"""The attention that learns faster gives the same loss and gradients, is taken where it pays, and is given back."""

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


def implementation(lm) -> str:
    return lm.causal.config._attn_implementation


def learnt(lm) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of one pass, in float32."""
    (layout,) = train.lay_out_lessons(lm, LESSONS)
    loss = train.answer_loss(lm, layout)
    parameters = list(lm.model.parameters())
    return float(loss.detach()), list(torch.autograd.grad(loss, parameters))


def test_it_teaches_the_same(lm, has_bf16):
    loss, gradients = learnt(lm)
    with attention.quick_to_learn_with(lm, 100):
        assert implementation(lm) == "eager"
        other, others = learnt(lm)
    assert other == pytest.approx(loss, rel=1e-5)
    for one, two in zip(gradients, others, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)


def test_it_is_given_back_whatever_happens(lm, has_bf16):
    with pytest.raises(KeyboardInterrupt), attention.quick_to_learn_with(lm, 100):
        assert implementation(lm) == "eager"
        raise KeyboardInterrupt
    assert implementation(lm) == "sdpa"


@pytest.mark.parametrize("why", ["large", "no bf16", "no trees", "not exact"])
def test_sdpa_stays_where_the_other_does_not_pay(lm, why, monkeypatch):
    monkeypatch.setattr(load, "trains_mixed", lambda lm: why != "no bf16")
    if why == "not exact":
        monkeypatch.setattr(exact, "checked", lambda lm: exact.replace(lm, bears_trees=False))
    given = exact.replace(lm, bears_trees=why != "no trees")
    with attention.quick_to_learn_with(given, 100_000 if why == "large" else 100):
        assert implementation(lm) == "sdpa"
    assert implementation(lm) == "sdpa"
