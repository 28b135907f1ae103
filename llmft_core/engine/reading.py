"""How a model reads a layout: what it is called with, and its logits at the places that matter and nowhere else."""

import copy
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import DynamicCache

from llmft_core.engine import linear, threads
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded
from llmft_core.engine.tree import Layout, Packing, batches, grow, lay_out, unfold

MEMORIES = ("past_key_values", "cache_params", "state")  # what architectures call that which they remember
SHORTEST_STEM = 4  # tokens; a shorter one is not worth a pass of its own
WITH_STEM = 4  # times the tokens of a pass that its rows may remember of the stem


def passes(
    lm: LanguageModel,
    prompts: Sequence[Encoded],
    leaves: Sequence[tuple[tuple[int, ...], ...]],
    packing: Packing,
    tokens: int,
) -> Iterator[Layout]:
    """The prompts as layouts, one for each forward pass of at most `tokens` padded tokens (or those of `packing`).

    Prompts that begin alike share a row if the model bears it.
    """
    trees = grow(prompts, leaves, packing.widest) if lm.bears_trees else unfold(prompts, leaves)
    for batch in batches(trees, packing.tokens or tokens):
        yield lay_out(batch, lm.tokenizer.pad_token_id)


def passes_after_stem(
    lm: LanguageModel,
    prompts: Sequence[Encoded],
    leaves: Sequence[tuple[tuple[int, ...], ...]],
    packing: Packing,
    tokens: int,
) -> Iterator[tuple[Layout, DynamicCache]]:
    """The same, each with what the model has read before: the tokens that all prompts begin with are read only once.

    Nothing can be learnt from such a pass. A single row has nobody to share with, so it has no stem.
    """
    trees = grow(prompts, leaves, packing.widest) if lm.bears_trees else []
    stem = tuple(os.path.commonprefix([tree.prefix for tree in trees])) if packing.has_stem and len(trees) > 1 else ()
    if len(stem) < SHORTEST_STEM or not all(prompt.question for prompt in prompts):  # logits need a token after it
        yield from ((layout, DynamicCache()) for layout in passes(lm, prompts, leaves, packing, tokens))
        return
    rest = [prompt._replace(prefix=prompt.prefix[len(stem) :]) for prompt in prompts]
    past = DynamicCache()
    lm.causal.base_model(torch.tensor([stem], device=lm.device), past_key_values=past, use_cache=True)
    most = max(1, WITH_STEM * tokens // len(stem))  # every row keeps keys of its own for the stem
    for batch in batches(grow(rest, leaves, packing.widest), packing.tokens or tokens, most):
        memory = copy.deepcopy(past)
        memory.batch_repeat_interleave(len(batch))
        yield lay_out(batch, lm.tokenizer.pad_token_id, len(stem)), memory


def inputs(lm: LanguageModel, layout: Layout) -> dict:
    """What the model is called with. Plain rows need no mask: no token sees the padding at its right."""
    if not lm.bears_trees:
        return {"input_ids": layout.ids}
    return {
        "input_ids": layout.ids,
        "attention_mask": masks(lm, layout.visible(), layout.positions, layout.keys()[2]),
        "position_ids": layout.positions,
    }


def masks(lm: LanguageModel, visible: torch.Tensor, positions_q: torch.Tensor, positions_k: torch.Tensor):
    """The attention mask in the form that this architecture takes: 4-D, or one for each kind of layer.

    `visible` is [B, Q, K]. A sliding window (of all layers, or of those that `layer_types` names) counts positions, not
    places in the row.
    """
    config = lm.causal.config.get_text_config()
    kinds, window = set(getattr(config, "layer_types", None) or ()), getattr(config, "sliding_window", None)
    full = _as_mask(lm, visible)
    if not window or (kinds and "sliding_attention" not in kinds):
        return full
    near = positions_q[:, :, None] - positions_k[:, None, :] < window
    sliding = full if bool(near.all()) else _as_mask(lm, visible & near)
    return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _as_mask(lm: LanguageModel, visible: torch.Tensor) -> torch.Tensor:
    """[B, 1, Q, K]: booleans for sdpa on a GPU, or what is added to the scores.

    Eager attention knows no booleans, and on a CPU sdpa turns them into the same in each layer anew.
    """
    if lm.causal.config._attn_implementation == "sdpa" and lm.device.type != "cpu":
        return visible[:, None]
    return added(visible[:, None], lm.causal.dtype)


def added(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask to add to attention scores: 0 where something is seen, else almost minus infinity."""
    hidden = max(torch.finfo(dtype).min, torch.finfo(torch.bfloat16).min)  # finite, also where autocast makes it bf16
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, hidden)


@contextmanager
def head_only_at(lm: LanguageModel, rows: torch.Tensor, columns: torch.Tensor, tokens: torch.Tensor | None = None):
    """In this block a forward pass gives logits [n, V] at those places alone, or [n, len(tokens)] of those token ids.

    The model's own code goes on from there, so that logits which it scales or caps are what they always are. Nor do
    other places pass through the last MLP, for nobody looks at them any more.
    """
    head = lm.causal.get_output_embeddings()
    layers = getattr(lm.causal.base_model, "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if layers else None
    hooks = [head.register_forward_pre_hook(lambda _, args: (args[0][rows, columns],))]
    is_plain = type(head) in (torch.nn.Linear, linear.Linear) and "forward" not in vars(head)
    if tokens is not None and is_plain:  # only their rows of the matrix: a vocabulary can be 256 thousand
        bias = None if head.bias is None else head.bias[tokens]
        head.forward = lambda hidden: torch.nn.functional.linear(hidden, head.weight[tokens], bias)
    elif tokens is not None:
        hooks.append(head.register_forward_hook(lambda *called: called[-1][..., tokens]))
    before = vars(mlp).get("forward") if mlp is not None else None
    if mlp is not None:
        whole = mlp.forward
        mlp.forward = lambda hidden: _at_places(whole, hidden, rows, columns)
    try:
        yield
    finally:
        if mlp is not None:
            del mlp.forward
        if before is not None:  # a library has put it there
            mlp.forward = before
        for hook in hooks:
            hook.remove()
        if tokens is not None and is_plain:
            del head.forward


def _at_places(forward, hidden: torch.Tensor, rows, columns) -> torch.Tensor:
    """What a module makes of each place by itself, at those places (and at some more in rows that have fewer).

    Rows stay rows: an adapter may be on for some of them only (`side_by_side`).
    """
    wanted = torch.zeros(hidden.shape[:2], dtype=torch.int8, device=hidden.device)
    wanted[rows, columns] = 1
    places = wanted.sort(dim=1, descending=True, stable=True).indices[:, : int(wanted.sum(1).max())]
    places = places[..., None].expand(-1, -1, hidden.shape[2])
    found = forward(hidden.gather(1, places))
    if not isinstance(found, torch.Tensor):  # some give what their router chose besides
        return forward(hidden)
    return torch.zeros_like(hidden, dtype=found.dtype).scatter(1, places, found)


def logits_at(lm: LanguageModel, rows, columns, tokens: torch.Tensor | None = None, **called) -> torch.Tensor:
    """Logits in float32 at those places, over the vocabulary or `tokens` alone, of the model called with `called`."""
    threads.fit()
    with head_only_at(lm, rows, columns, tokens):
        return lm.causal(**called).logits.float()


def follow(lm: LanguageModel, ids: torch.Tensor, past: dict) -> tuple[torch.Tensor, dict]:
    """Logits [B, V] of what comes after `ids` [B, n], read after what `past` holds ({} at first); and the new past.

    Rows are of equal length. The model remembers in its own way; one that remembers nothing reads all of it again.
    """
    threads.fit()
    seen = torch.cat([past["seen"], ids], 1) if past else ids
    memory = {name: past[name] for name in MEMORIES if name in past}
    fresh = ids if memory else seen
    called = {"input_ids": fresh, "use_cache": True, **memory}
    if "position_ids" in inspect.signature(lm.causal.forward).parameters:
        places = torch.arange(seen.shape[1] - fresh.shape[1], seen.shape[1], device=ids.device)
        called["position_ids"] = places.expand_as(fresh)
    with head_only_at(lm, torch.arange(len(ids), device=ids.device), -1):
        out = lm.causal(**called)
    return out.logits.float(), {"seen": seen} | {name: out[name] for name in MEMORIES if out.get(name) is not None}
