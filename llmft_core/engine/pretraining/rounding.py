"""Fewer significant bits in a model that ships: the same files to load, smaller in git and in a download."""

import torch


@torch.no_grad()
def keep_bits(model: torch.nn.Module, bits: int) -> None:
    """Round every matrix of a model, in place, to `bits` significant bits; bf16 has 8, the leading one among them.

    The zeros that take the place of the others compress well.
    """
    for weight in model.parameters():
        if weight.dim() == 2:
            mantissa, exponent = torch.frexp(weight.float())
            weight.copy_(torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent))
