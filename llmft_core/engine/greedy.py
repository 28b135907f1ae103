"""Greedy answers: the branches of all trees in step over one memory, or rows of equal length for other models."""

from collections import defaultdict
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad
from transformers import Cache, DynamicCache

from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded
from llmft_core.engine.reading import follow, logits_at, masks
from llmft_core.engine.room import roomy_cache
from llmft_core.engine.tree import FREE, OUTSIDE, TRUNK, Layout, sees


@dataclass
class Memory:
    """What a model has read of some trees: keys and values, and of each token its branch, leaf and position [B, T]."""

    cache: Cache
    branch: torch.Tensor
    leaf: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, layout: Layout, cache: DynamicCache) -> "Memory":
        """The pass that reads the layout puts it into the cache, where as yet there is no more than its stem."""
        # A cache made without the config, on purpose: sliding layers keep all keys, the mask does the rest.
        return cls(cache, *layout.keys())

    def keep(self, rows: np.ndarray) -> None:
        """Forget all other rows."""
        chosen = torch.from_numpy(rows).to(self.branch.device)
        self.cache.batch_select_indices(chosen)
        self.branch, self.leaf, self.positions = (t[chosen] for t in (self.branch, self.leaf, self.positions))

    @classmethod
    def joined(cls, parts: "Sequence[Memory]") -> "Memory":
        """The rows of all, filled up to the longest with what nobody sees; the parts are empty then."""
        width = max(part.branch.shape[1] for part in parts)
        room = [width - part.branch.shape[1] for part in parts]
        cache = roomy_cache()
        for number, layers in enumerate(zip(*(part.cache.layers for part in parts), strict=True)):
            keys, values = (
                torch.cat(
                    [pad(getattr(layer, name), (0, 0, 0, free)) for layer, free in zip(layers, room, strict=True)]
                )
                for name in ("keys", "values")
            )
            cache.update(keys, values, number)
            for layer in layers:
                layer.keys = layer.values = None  # or everything would lie in memory twice
        columns = (
            torch.cat(
                [pad(getattr(part, name), (0, free), value=filler) for part, free in zip(parts, room, strict=True)]
            )
            for name, filler in (("branch", OUTSIDE), ("leaf", TRUNK), ("positions", 0))
        )
        return cls(cache, *columns)

    def read(self, lm: LanguageModel, ids, positions, branch, rows, columns) -> torch.Tensor:
        """Read one more token of some branches ([B, slots], numpy); logits [n, V] at those places."""
        ids, positions, branch = (
            torch.from_numpy(array.astype(np.int64)).to(lm.device) for array in (ids, positions, branch)
        )
        trunk = torch.full_like(branch, TRUNK)
        self.branch, self.leaf = torch.cat([self.branch, branch], 1), torch.cat([self.leaf, trunk], 1)
        self.positions = torch.cat([self.positions, positions], 1)
        visible = sees(branch, trunk, self.branch, self.leaf)
        return logits_at(
            lm,
            rows,
            columns,
            input_ids=ids,
            attention_mask=masks(lm, visible, positions, self.positions),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )


@dataclass
class Unwritten:
    """Branches that have been read and not answered: of each its key, row, number, depth and first id, [n] each."""

    memory: Memory
    keys: np.ndarray
    rows: np.ndarray
    branch: np.ndarray
    depth: np.ndarray
    token: np.ndarray

    @classmethod
    def of(cls, layout: Layout, memory: Memory, first: np.ndarray, known: Container[int] = ()) -> "Unwritten":
        """The branches of a layout that are not `known`, and only their rows; `first` are the ids after its `ends`."""
        live = np.array([key not in known for key in layout.ends])
        keys = np.array(list(layout.ends))[live]
        rows, columns = (np.array(side)[live] for side in zip(*layout.ends.values(), strict=True))
        depth = layout.positions[rows, columns].cpu().numpy()
        kept = np.unique(rows)
        if len(kept) < len(layout.ids):
            memory.keep(kept)
        branch = np.array([layout.branch_of[key] for key in keys], dtype=int)
        return cls(memory, keys, np.searchsorted(kept, rows), branch, depth, first[live])

    @classmethod
    def joined(cls, parts: "Sequence[Unwritten]") -> "Unwritten":
        """All of them over one memory that has room for what they will write."""
        starts = np.cumsum([0, *(len(part.memory.branch) for part in parts)])
        rows = np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)])
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("keys", "branch", "depth", "token")
        }
        return cls(Memory.joined([part.memory for part in parts]), rows=rows, **columns)


def in_step(
    lm: LanguageModel,
    branches: Unwritten,
    max_new_tokens: int,
    stops: set[int],
    tick: Callable[[], None] = lambda: None,
) -> dict[int, list[int]]:
    """Greedy ids per key, all branches in step; `tick` is called after each, and may raise to end it.

    Each step feeds one token per live branch, as a ragged batch [rows, live branches]; rows without any are dropped.
    """
    memory, rows, token = branches.memory, branches.rows, branches.token.copy()
    written: list[list[int]] = [[] for _ in token]
    live = np.arange(len(token))
    for step in range(max_new_tokens):
        for index in live:
            written[index].append(int(token[index]))
        live = np.array([index for index in live if int(token[index]) not in stops], dtype=int)
        if len(live) == 0 or step == max_new_tokens - 1:
            break
        kept = np.unique(rows[live])
        if len(kept) < memory.branch.shape[0]:
            memory.keep(kept)
            rows = np.searchsorted(kept, rows)  # rows of finished branches point anywhere; they are never read again
        at = (rows[live], _slots(rows[live]))
        shape = (len(kept), at[1].max() + 1)
        ids, position = np.full(shape, lm.tokenizer.pad_token_id), np.zeros(shape)
        branch = np.full(shape, FREE)
        ids[at], position[at], branch[at] = token[live], branches.depth[live] + 1 + step, branches.branch[live]
        token[live] = memory.read(lm, ids, position, branch, *at).argmax(-1).cpu().numpy()
        tick()
    return dict(zip(branches.keys.tolist(), written, strict=True))


def _slots(rows: np.ndarray) -> np.ndarray:
    """For each live branch its place among those of its row: [0, 0, 1] for rows [4, 7, 4]."""
    taken: dict[int, int] = defaultdict(int)
    slots = np.zeros(len(rows), dtype=int)
    for index, row in enumerate(rows.tolist()):
        slots[index] = taken[row]
        taken[row] += 1
    return slots


def row_by_row(
    lm: LanguageModel,
    prompts: Sequence[Encoded],
    max_new_tokens: int,
    stops: set[int],
    tokens: int,
    tick: Callable[[int], None],
) -> dict[int, list[int]]:
    """Greedy ids per key without trees: prompts of equal length share a pass, so that nothing is padded."""
    written: dict[int, list[int]] = {}
    alike: dict[int, list[int]] = defaultdict(list)
    for key, prompt in enumerate(prompts):
        alike[len(prompt.ids)].append(key)
    for length, keys in alike.items():
        together = max(1, tokens // length)
        for start in range(0, len(keys), together):
            batch = keys[start : start + together]
            answers = _continue(lm, [prompts[key].ids for key in batch], max_new_tokens, stops)
            written |= dict(zip(batch, answers, strict=True))
            tick(len(written))
    return written


def _continue(lm: LanguageModel, rows: list[tuple[int, ...]], max_new_tokens: int, stops: set[int]) -> list[list[int]]:
    """Greedy ids of rows of equal length; a row that is over goes on unheard until all are."""
    written: list[list[int]] = [[] for _ in rows]
    ids, past = torch.tensor(rows, device=lm.device), {}
    for _ in range(max_new_tokens):
        logits, past = follow(lm, ids, past)
        ids = logits.argmax(-1)[:, None]
        for row, token in zip(written, ids[:, 0].tolist(), strict=True):
            if not row or row[-1] not in stops:
                row.append(token)
        if all(row[-1] in stops for row in written):
            break
    return written
