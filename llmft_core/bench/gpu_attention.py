"""Attention alone, forward and backward, inside a child: a dense mask against FlexAttention's blocks, same layouts."""

import statistics
from collections.abc import Callable

import numpy as np
import torch

from llmft_core.bench import gpu_peak
from llmft_core.engine.tree import OUTSIDE, PREFIX, TRUNK, Branch, Layout, Tree, lay_out

PREFIX_TOKENS, QUESTION, ANSWER = 192, (18, 34), (2, 15)  # as in SQuAD v2, in tokens of mini's tokenizer
WIDEST = (384, 1536, 6144)  # tokens of branches in a row: ours, and longer rows in which more blocks are empty
TOKENS = 16384  # in a pass
HEADS, KEYS, WIDTH = 32, 8, 64  # as Llama 3.2 1B
REPEATS = 10


def measure(request: dict) -> tuple[float, int, dict, dict]:
    """Milliseconds of either way for each layout, of the making of FlexAttention's mask, and how far results differ."""
    device, random = gpu_peak.device_of(request), np.random.default_rng(request["seed"])
    found = []
    for widest in request.get("widest", WIDEST):
        trees = [_tree(widest, random)]
        while (len(trees) + 1) * max(tree.length for tree in trees) <= request.get("tokens", TOKENS):
            trees.append(_tree(widest, random))
        found.append(_compare(lay_out(trees, 0).to(device), device))
    return 0.0, len(found), {"layouts": found}, {}


def _tree(widest: int, random: np.random.Generator) -> Tree:
    """A paragraph with about `widest` tokens of questions and answers. Only lengths matter, so all ids are one."""
    branches: list[Branch] = []
    while sum(branch.length for branch in branches) < widest:
        question, answer = ((1,) * int(random.integers(*lengths)) for lengths in (QUESTION, ANSWER))
        branches.append(Branch(len(branches), question, (answer,)))
    return Tree((1,) * PREFIX_TOKENS, tuple(branches))


def _compare(layout: Layout, device: torch.device) -> dict:
    rows, tokens = layout.ids.shape
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    q, k, v = (
        torch.randn(rows, heads, tokens, WIDTH, device=device, dtype=dtype, requires_grad=device.type == "cuda")
        for heads in (HEADS, KEYS, KEYS)
    )
    visible = layout.visible()[:, None]
    dense, right = _timed(lambda: _dense(q, k, v, visible), (q, k, v), device)
    found = {"rows": rows, "tokens": tokens, "visible": float(visible.float().mean()), "dense_ms": dense}
    try:
        flex, made, call = _flex(layout, device)
        flex_ms, got = _timed(lambda: call(q, k, v), (q, k, v), device)
        real = (layout.branch != OUTSIDE)[
            :, None, :, None
        ]  # padding looks at the prefix in both, and counts in neither
        gap = ((got - right) * real).abs().max() / right.abs().max()
        return found | {"flex_ms": flex_ms, "mask_ms": made, "gap": float(gap), "blocks_empty": float(flex.sparsity())}
    except Exception as error:  # a compiler that is missing, or a device that it knows not
        return found | {"flex_ms": gpu_peak.sentence(error)}


def _dense(q, k, v, visible: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)


def _flex(layout: Layout, device: torch.device):
    """The block mask of a layout, milliseconds that it took to make, and attention under it."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    branch, leaf = layout.branch, layout.leaf

    def sees(b, h, at, to):
        own = (branch[b, at] == branch[b, to]) & ((leaf[b, to] == TRUNK) | (leaf[b, at] == leaf[b, to]))
        return (at >= to) & ((branch[b, to] == PREFIX) | own)

    rows, tokens = layout.ids.shape

    def make():
        return create_block_mask(sees, rows, None, tokens, tokens, device=device)

    make()
    seconds, mask = gpu_peak.timed(make, device)
    attend = torch.compile(flex_attention, dynamic=False) if device.type == "cuda" else flex_attention
    return mask, seconds * 1000, lambda q, k, v: attend(q, k, v, block_mask=mask, enable_gqa=True)


def _timed(attend: Callable[[], torch.Tensor], leaves, device: torch.device) -> tuple[float, torch.Tensor]:
    """Median milliseconds of forward and backward, the first two calls left out; and the result."""

    def both() -> torch.Tensor:
        out = attend()
        if out.requires_grad:  # FlexAttention has no backward pass on a CPU, so tests go forward alone
            out.backward(torch.ones_like(out))
        for leaf in leaves:
            leaf.grad = None
        return out.detach()

    for _ in range(2):
        found = both()
    repeats = REPEATS if device.type == "cuda" else 1
    return statistics.median(gpu_peak.timed(both, device)[0] for _ in range(repeats)) * 1000, found
