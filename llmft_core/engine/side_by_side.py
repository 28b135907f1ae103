"""Two rows of a batch, one model: the first is read by the base, the second by the base with its adapter."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer

from llmft_core.engine.exact import ROUNDING
from llmft_core.engine.language_model import LanguageModel


class SideBySide:
    """A model whose adapter can be put on the second row alone: what it adds to the first is multiplied by zero.

    peft scales what an adapter adds by one number per layer; here it is one per row. So two rows cost one pass with the
    adapter, where peft's own mixed batches take every adapter's rows out and put them back, layer by layer.
    """

    def __init__(self, lm: LanguageModel):
        self.lm = lm
        self.layers = [
            (layer, dict(layer.scaling), {name: _per_row(lm, scaling) for name, scaling in layer.scaling.items()})
            for layer in lm.model.modules()
            if isinstance(layer, LoraLayer)
        ]

    @contextmanager
    def reading(self) -> Iterator[LanguageModel]:
        """Inside this block the model reads batches of two rows, the base's first."""
        for layer, _, per_row in self.layers:
            layer.scaling.update(per_row)
        try:
            yield self.lm
        finally:
            for layer, scaling, _ in self.layers:
                layer.scaling.update(scaling)

    @torch.inference_mode()
    def is_exact(self, ids: torch.Tensor, plain: torch.Tensor, tuned: torch.Tensor) -> bool:
        """Whether both rows [1, n] give the logits [V] that the sides give alone, but for rounding.

        Layers that hold a whole tensor beside the factors, or flatten the batch, do not.
        """
        wanted = torch.stack([plain, tuned])
        try:
            with self.reading() as lm:
                found = lm.causal(ids.expand(2, -1)).logits[:, -1].float().cpu()
        except (RuntimeError, TypeError):  # shapes that do not fit, or a layer that wants one number
            return False
        finite = wanted.isfinite().all(0)
        gap, eps = (found - wanted)[:, finite].abs().amax(), torch.finfo(lm.causal.dtype).eps
        return bool(gap <= max(ROUNDING, 16 * eps) * wanted[:, finite].std(1).mean())


def _per_row(lm: LanguageModel, scaling: float) -> torch.Tensor:
    return torch.tensor([0.0, scaling], device=lm.device)[:, None, None]
