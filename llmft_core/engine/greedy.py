"""Greedy answers: the branches of all trees in step over one memory, or rows of equal length for other models."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache

from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded
from llmft_core.engine.reading import follow, logits_at, masks
from llmft_core.engine.tree import FREE, TRUNK, Layout, sees


@dataclass
class Memory:
    """What a model has read of some trees: keys and values, and of each token its branch, leaf and position [B, T]."""

    cache: DynamicCache
    branch: torch.Tensor
    leaf: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, layout: Layout) -> "Memory":
        """Still empty; the pass that reads the layout fills the cache."""
        # Made without the config on purpose: sliding layers keep all keys, the mask does the rest.
        return cls(DynamicCache(), layout.branch, layout.leaf, layout.positions)

    def keep(self, rows: np.ndarray) -> None:
        """Forget all other rows."""
        chosen = torch.from_numpy(rows).to(self.branch.device)
        self.cache.batch_select_indices(chosen)
        self.branch, self.leaf, self.positions = (t[chosen] for t in (self.branch, self.leaf, self.positions))

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


def in_step(
    lm: LanguageModel, layout: Layout, memory: Memory, first: np.ndarray, max_new_tokens: int, stops: set[int]
) -> dict[int, list[int]]:
    """Greedy ids per key, all branches of all rows in step; `first` are the ids that follow `layout.ends`.

    Each step feeds one token per live branch, as a ragged batch [rows, live branches]; rows without any are dropped.
    """
    keys = list(layout.ends)
    rows, columns = (np.array(side) for side in zip(*layout.ends.values(), strict=True))
    branch_of = np.array([layout.branch_of[key] for key in keys])
    depth = layout.positions[rows, columns].cpu().numpy()
    written: dict[int, list[int]] = {key: [] for key in keys}
    token, live = first.copy(), np.arange(len(keys))
    for step in range(max_new_tokens):
        for index in live:
            written[keys[index]].append(int(token[index]))
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
        ids[at], position[at], branch[at] = token[live], depth[live] + 1 + step, branch_of[live]
        token[live] = memory.read(lm, ids, position, branch, *at).argmax(-1).cpu().numpy()
    return written


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
