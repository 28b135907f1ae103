"""Linear layers multiply by oneDNN where MKL would idle, give what torch's own give, and stay out of the way."""

import pytest
import tiny
import torch
from safetensors.torch import load_file

from llmft_core.engine import linear, load

ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
AMD = {"cpu_name": "AMD EPYC", "avx512_f": True}


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """The shapes that oneDNN was asked to multiply."""
    shapes: list[tuple] = []
    product = linear.product
    monkeypatch.setattr(linear, "product", lambda given, *rest: shapes.append(given.shape) or product(given, *rest))
    return shapes


def pair(has_bias: bool) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    """A layer of torch's and the same as ours."""
    theirs, ours = (torch.nn.Linear(24, 40, bias=has_bias) for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    linear.quicken(ours)
    return theirs, ours


@ONEDNN
@pytest.mark.parametrize("shape", [(linear.FEWEST, 24), (2, 50, 24), (3, 2, 40, 24)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_products_are_those_of_torch(asked, shape, has_bias):
    theirs, ours = pair(has_bias)
    given = torch.randn(shape)
    turned = given.transpose(0, -2).contiguous().transpose(0, -2)  # the same, laid out another way
    with torch.inference_mode():
        for each in (given, turned):
            torch.testing.assert_close(ours(each), theirs(each), rtol=1e-5, atol=1e-5)
    assert asked == [shape, shape]


@ONEDNN
@pytest.mark.parametrize("rows", [1, 2])
def test_a_large_matrix_is_for_onednn_from_the_first_row(asked, rows):
    theirs, ours = (torch.nn.Linear(512, linear.LARGE // 512, bias=False) for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    linear.quicken(ours)
    given = torch.randn(rows, 512)
    with torch.inference_mode():
        torch.testing.assert_close(ours(given), theirs(given), rtol=1e-5, atol=1e-5)
    assert asked == [given.shape]


@pytest.mark.parametrize("why", ["gradients", "few rows", "half precision", "autocast"])
def test_torch_multiplies_what_is_not_for_onednn(asked, why):
    theirs, ours = pair(has_bias=True)
    given = torch.randn(1 if why == "few rows" else 64, 24)
    if why == "half precision":
        theirs, ours, given = theirs.bfloat16(), ours.bfloat16(), given.bfloat16()
    with torch.set_grad_enabled(why == "gradients"), torch.autocast("cpu", torch.bfloat16, why == "autocast"):
        assert torch.equal(ours(given), theirs(given))
    assert asked == []


@ONEDNN
@pytest.mark.parametrize("able, is_quick", [(AMD, True), (AMD | {"avx512_f": False}, False), ({}, False)])
def test_only_the_processors_that_gain_are_asked(monkeypatch, tmp_path, able, is_quick):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    lm = load.load(str(tiny.llama(tmp_path / "model")))
    layers = [module for module in lm.model.modules() if isinstance(module, torch.nn.Linear)]
    assert len(layers) > 8
    assert {type(layer) is linear.Linear for layer in layers} == {is_quick}


@ONEDNN
def test_a_quick_model_says_and_saves_what_the_plain_one_does(monkeypatch, tmp_path, asked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    plain = load.load(str(tiny.llama(tmp_path / "model")))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AMD, raising=False)
    quick = load.load(str(tmp_path / "model"))
    ids = torch.arange(40).expand(2, -1) + 3
    with torch.inference_mode():
        wanted, found = (lm.causal(ids).logits for lm in (plain, quick))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(asked) > 8
    quick.causal.save_pretrained(tmp_path / "saved")
    wanted, found = (load_file(tmp_path / folder / "model.safetensors") for folder in ("model", "saved"))
    assert {name: tensor.tolist() for name, tensor in wanted.items()} == {n: t.tolist() for n, t in found.items()}
    learning = [load.with_new_adapter(lm, 4).model.get_nb_trainable_parameters() for lm in (plain, quick)]
    assert learning[0] == learning[1]  # peft knows our layers as linear ones
