"""Frozen matrices stored in bf16 while an adapter learns in bf16: half the room, and nothing to cast in each pass.

Autocast multiplies them in bf16 anyway: it would copy each in every pass and keep the copy until it goes backward.
Published weights are bf16, so nothing is lost by it; a matrix that bf16 does not hold exactly stays as it is, and so
does what is no linear layer (embeddings, GPT-2's Conv1D).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

AT_ONCE = 1 << 17  # entries


def matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The float32 matrices under the adapters of linear layers that bf16 holds exactly; none of a model without."""
    under = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    found = [layer.weight for layer in under if isinstance(layer, torch.nn.Linear)]
    return [weight for weight in found if weight.dtype == torch.float32 and not weight.requires_grad and _fits(weight)]


def _fits(weight: torch.Tensor) -> bool:
    """In pieces that stay in the processor's cache."""
    pieces = weight.detach().split(max(1, AT_ONCE // weight.shape[1]))
    return all(torch.equal(piece.bfloat16().float(), piece) for piece in pieces)


@contextmanager
def stored_in(dtype: torch.dtype, weights: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Inside this block the weights are stored in that dtype; after it as before."""
    before = [weight.dtype for weight in weights]
    try:
        _store(weights, [dtype] * len(before))
        yield
    finally:
        _store(weights, before)


def _store(weights: Sequence[torch.nn.Parameter], dtypes: Sequence[torch.dtype]) -> None:
    for weight, dtype in zip(weights, dtypes, strict=True):
        weight.data = weight.data.to(dtype)
