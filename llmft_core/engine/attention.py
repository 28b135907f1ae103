"""Attention to learn with: on a CPU that multiplies bf16, plain products are faster than sdpa's fused kernel."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmft_core.engine import exact, load
from llmft_core.engine.language_model import LanguageModel

LARGEST = 1 << 28  # bytes of attention probabilities, which plain products keep for the way back
BYTES = 6  # of one probability: in float32 behind the softmax, in bf16 before the next product


@contextmanager
def quick_to_learn_with(lm: LanguageModel, tokens: int) -> Iterator[None]:
    """In this block a model reads passes of at most `tokens` tokens with the attention that learns faster.

    sdpa's kernel for CPUs is made of small products, which are slow in bf16, on the way back above all: rows of 394
    tokens take 20 ms there and 9 ms in plain products (Zen 5). A large model would keep too many probabilities.
    """
    config, before = lm.causal.config.get_text_config(), lm.causal.config._attn_implementation
    heads = getattr(config, "num_attention_heads", 0) * getattr(config, "num_hidden_layers", 0)
    is_small = heads * tokens**2 * BYTES <= LARGEST
    if before == "sdpa" and lm.bears_trees and is_small and lm.device.type == "cpu" and load.trains_mixed(lm):
        lm.causal.set_attn_implementation("eager")
        if not exact.checked(lm).bears_trees:
            lm.causal.set_attn_implementation(before)
    try:
        yield
    finally:
        lm.causal.set_attn_implementation(before)
