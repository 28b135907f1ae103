"""The prompt tree: a shared prefix once, its questions as branches, continuations as leaves. Exact on stock models.

    prefix ─┬─ question 0 ─┬─ leaf 0        one row of tokens; a token sees its own ancestors and itself,
            │              └─ leaf 1        and positions go on from the parent, so that each path from
            └─ question 1 ─── leaf 0        root to leaf computes what it would compute alone.

How a model reads such a row is in `reading`.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from llmft_core.engine.prompts import Encoded

PREFIX, OUTSIDE = -1, -2  # branch numbers of shared tokens and of padding
FREE = -3  # branch number of a free slot: it sees the prefix alone and nobody sees it
TRUNK = -1  # leaf number of the tokens of a question
# Tokens in a row at which attention costs about what all else does: in mini, on a CPU. A wider model pays up to a
# tenth more tokens for a short prefix than it need.
EVEN = 1000
NARROWEST, WIDEST = 64, 384  # tokens of branches in a row


class Branch(NamedTuple):
    """One question of example `key` and the continuations that hang on it."""

    key: int
    question: tuple[int, ...]
    leaves: tuple[tuple[int, ...], ...] = ()

    @property
    def length(self) -> int:
        return len(self.question) + sum(max(0, len(leaf) - 1) for leaf in self.leaves)


class Tree(NamedTuple):
    """A prefix and the branches that share it."""

    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def length(self) -> int:
        """Tokens in the row. The last token of a leaf is only ever predicted, so it takes no place."""
        return len(self.prefix) + sum(branch.length for branch in self.branches)


class Packing(NamedTuple):
    """How prompts are laid side by side: tokens of branches in a row, padded tokens in a pass.

    None is what suits the prefix (`breadth`), and what suits the device.
    """

    widest: int | None = None
    tokens: int | None = None
    has_stem: bool = True  # what all prompts begin with is read once, where nothing is learnt from it


PACKED = Packing()
PADDED = Packing(widest=0, has_stem=False)  # every prompt has a row of its own
ONE_BY_ONE = Packing(widest=0, tokens=1, has_stem=False)


def breadth(prefix: int) -> int:
    """Tokens of branches in a row for a prefix of so many tokens: where a row costs least per branch.

    With w tokens of branches each of them pays for 1/w of the prefix and for attention over the row, that is
    EVEN · prefix / w + w, least at w = √(EVEN · prefix).
    """
    return min(WIDEST, max(NARROWEST, math.isqrt(EVEN * prefix)))


def grow(
    prompts: Sequence[Encoded], leaves: Sequence[tuple[tuple[int, ...], ...]], widest: int | None = None
) -> list[Tree]:
    """Trees of all prompts: equal prefixes share a row, at most about `widest` tokens of branches in each.

    `leaves[i]` hang on prompt i; the key of a branch is i. None keeps attention, quadratic in a row, cheap (`breadth`).
    """
    groups: dict[tuple[int, ...], list[Branch]] = defaultdict(list)
    for key, (prompt, hung) in enumerate(zip(prompts, leaves, strict=True)):
        groups[prompt.prefix].append(Branch(key, prompt.question, tuple(hung)))
    return [
        Tree(prefix, tuple(row))
        for prefix, branches in groups.items()
        for row in in_rows(branches, breadth(len(prefix)) if widest is None else widest)
    ]


def in_rows(branches: Sequence[Branch], most: int) -> list[list[Branch]]:
    """Branches in as few rows of about `most` tokens as hold them, as even as can be, so that nothing is padded much.

    The longest first, each into the row that is least full: the fullest is at most a third over the best (Graham 1969).
    """
    total = sum(branch.length for branch in branches)
    needed = min(len(branches), max(1, math.ceil(total / most))) if most else len(branches)
    rows: list[list[Branch]] = [[] for _ in range(needed)]
    fill = [(0, number) for number in range(needed)]
    for branch in sorted(branches, key=lambda branch: -branch.length):
        used, number = heapq.heappop(fill)
        rows[number].append(branch)
        heapq.heappush(fill, (used + branch.length, number))
    return [row for row in rows if row]


def unfold(prompts: Sequence[Encoded], leaves: Sequence[tuple[tuple[int, ...], ...]]) -> list[Tree]:
    """Each path from root to leaf as a tree of its own, for models in which nothing can be shared."""
    paths = []
    for key, (prompt, hung) in enumerate(zip(prompts, leaves, strict=True)):
        alone = [((),) * number + (leaf,) for number, leaf in enumerate(hung)] or [()]
        paths += [Tree(prompt.prefix, (Branch(key, prompt.question, leaf),)) for leaf in alone]
    return paths


def batches(trees: Sequence[Tree], tokens: int, rows: int | None = None) -> Iterator[list[Tree]]:
    """Trees in batches of at most `tokens` padded tokens and `rows`, longest first, so that its rows are alike."""
    batch: list[Tree] = []
    for tree in sorted(trees, key=lambda tree: -tree.length):
        if batch and ((len(batch) + 1) * batch[0].length > tokens or len(batch) == rows):
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch


@dataclass
class Layout:
    """Trees as tensors: ids, positions, branch and leaf number of each token, all [B, T]; and where to look.

    `ends[key]` is (row, column) of the last token of that question. `targets` are the leaf tokens to be predicted:
    arrays row, column (of the token before), token, key, leaf.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    branch: torch.Tensor
    leaf: torch.Tensor
    ends: dict[int, tuple[int, int]]
    targets: dict[str, torch.Tensor]
    branch_of: dict[int, int]
    stem: int = 0  # tokens before each row that are read already, shared by all

    def to(self, device: torch.device) -> "Layout":
        """The same layout with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("ids", "positions", "branch", "leaf")}
        targets = {name: value.to(device) for name, value in self.targets.items()}
        return replace(self, **moved, targets=targets)

    def keys(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Branch, leaf and position of all that can be seen, the stem in front: [B, stem + T] each."""
        shape = (len(self.ids), self.stem)
        prefix, trunk = (torch.full(shape, number, device=self.ids.device) for number in (PREFIX, TRUNK))
        places = torch.arange(self.stem, device=self.ids.device).expand(shape)
        mine = (self.branch, self.leaf, self.positions)
        return tuple(torch.cat(pair, 1) for pair in zip((prefix, trunk, places), mine, strict=True))

    def visible(self) -> torch.Tensor:
        """[B, T, stem + T], True where the row token may look at the column token."""
        length = self.ids.shape[1]
        shape = (length, self.stem + length)
        earlier = torch.ones(shape, dtype=torch.bool, device=self.ids.device).tril(self.stem)
        return sees(self.branch, self.leaf, *self.keys()[:2]) & earlier


def sees(branch_q, leaf_q, branch_k, leaf_k) -> torch.Tensor:
    """[B, Q, K]: a key is shared, or lies on the query's own branch and there on the trunk or on the same leaf."""
    on_branch = branch_q[:, :, None] == branch_k[:, None, :]
    on_leaf = (leaf_k[:, None, :] == TRUNK) | (leaf_q[:, :, None] == leaf_k[:, None, :])
    return (branch_k[:, None, :] == PREFIX) | (on_branch & on_leaf)


def lay_out(trees: Sequence[Tree], pad: int, stem: int = 0) -> Layout:
    """Put trees side by side as the rows of one batch, padded at the right; `stem` tokens stand before each."""
    width = max(tree.length for tree in trees)
    ids = np.full((len(trees), width), pad, dtype=np.int64)
    positions, leaf = np.zeros_like(ids), np.full_like(ids, TRUNK)
    branch = np.full_like(ids, OUTSIDE)
    ends, branch_of, targets = {}, {}, []
    for row, tree in enumerate(trees):
        at, root = len(tree.prefix), stem + len(tree.prefix)
        ids[row, :at], positions[row, :at], branch[row, :at] = tree.prefix, range(stem, root), PREFIX
        for number, (key, question, leaves) in enumerate(tree.branches):
            depth = root + len(question)
            ids[row, at : at + len(question)] = question
            positions[row, at : at + len(question)] = range(root, depth)
            branch[row, at : at + len(question)] = number
            at += len(question)
            ends[key], branch_of[key], end = (row, at - 1), number, at - 1
            for leaf_number, tokens in enumerate(leaves):
                if not tokens:
                    continue  # it hangs in another row (`unfold`)
                body = len(tokens) - 1
                ids[row, at : at + body], branch[row, at : at + body] = tokens[:-1], number
                positions[row, at : at + body], leaf[row, at : at + body] = range(depth, depth + body), leaf_number
                columns = [end, *range(at, at + body)]
                targets += [(row, c, token, key, leaf_number) for c, token in zip(columns, tokens, strict=True)]
                at += body
    columns = torch.tensor(targets, dtype=torch.long).reshape(-1, 5).T
    named = dict(zip(("row", "column", "token", "key", "leaf"), columns, strict=True))
    tensors = (torch.from_numpy(array) for array in (ids, positions, branch, leaf))
    return Layout(*tensors, ends=ends, targets=named, branch_of=branch_of, stem=stem)
