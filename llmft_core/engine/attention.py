"""Attention to learn with: on a CPU that multiplies bf16, plain products are faster than sdpa's fused kernel."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmft_core.engine import exact, load
from llmft_core.engine.language_model import LanguageModel

LARGEST = 1 << 28  # bytes of attention probabilities, which plain products keep for the way back
PER_PROBABILITY = 6  # bytes: in float32 behind the softmax, in bf16 before the next product


def to_learn_with(lm: LanguageModel, tokens: int) -> str:
    """What transformers calls the attention with which this model learns fastest, in passes of so many tokens.

    sdpa's kernel for CPUs is made of small products, which are slow in bf16, on the way back above all: in a layer of
    mini a pass of 3 rows of 394 tokens takes 20 ms there and back, and 9 ms in plain products (Zen 5). Their gradients
    are about twice as rough, for scores and probabilities are rounded to bf16; and a large model would keep too many
    of these.
    """
    config, usual = lm.causal.config.get_text_config(), lm.causal.config._attn_implementation
    is_small = keeps_little(config, tokens**2)
    if usual != "sdpa" or not (is_small and lm.bears_trees and lm.device.type == "cpu" and load.trains_mixed(lm)):
        return usual
    with switched(lm, "eager"):
        can_switch = lm.causal.config._attn_implementation == "eager"
        return "eager" if can_switch and exact.holds(lm) else usual


def keeps_little(config, pairs: int) -> bool:
    """Whether a model that looks at so many pairs of tokens in a pass can keep what plain products keep of them."""
    maps = getattr(config, "num_attention_heads", 0) * getattr(config, "num_hidden_layers", 0)
    return 0 < maps * pairs * PER_PROBABILITY <= LARGEST


@contextmanager
def switched(lm: LanguageModel, implementation: str) -> Iterator[None]:
    """In this block the model reads with that attention."""
    before = lm.causal.config._attn_implementation
    if implementation != before:
        lm.causal.set_attn_implementation(implementation)
    try:
        yield
    finally:
        if implementation != before:
            lm.causal.set_attn_implementation(before)
