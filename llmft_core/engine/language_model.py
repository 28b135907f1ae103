"""A causal language model with its tokenizer: what every other file of the engine works with."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LanguageModel:
    """A model and its tokenizer, ready to answer; `source` is the folder or Hub id it came from.

    `bears_trees` says that prompts may share a row; without it each has a row of its own (`exact` finds out which).
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    device: torch.device
    bears_trees: bool = True

    @property
    def causal(self) -> PreTrainedModel:
        """The transformers model itself, also when peft has put adapters into it."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def architecture(self) -> str:
        """What transformers calls it: LlamaForCausalLM."""
        return type(self.causal).__name__

    @property
    def context(self) -> int:
        """Most tokens that fit in one prompt and its answer."""
        return int(getattr(self.causal.config.get_text_config(), "max_position_embeddings", 0) or 2048)

    @contextmanager
    def zero_shot(self):
        """Inside this block the adapter is switched off: the model is the base, bit for bit."""
        if isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                yield self
        else:
            yield self
