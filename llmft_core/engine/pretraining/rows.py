"""Rows of equal length, full to the last token: exercises as prompt trees, plain text in what room is left.

A token sees its own piece, and in an exercise the passage and its own question only; positions restart with each.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

TRUNK = -1  # branch number of plain text and of passages
ANSWER_WEIGHT = 6  # an answer is three tokens among hundreds, and what the exercise is about


class Piece(NamedTuple):
    """Ids, positions, branch numbers and loss weights, each [length]."""

    ids: list[int]
    positions: list[int]
    branch: list[int]
    weight: list[int]


def plain(ids: list[int]) -> Piece:
    """A text as one run of tokens; nothing predicts its first."""
    return Piece(ids, list(range(len(ids))), [TRUNK] * len(ids), [0] + [1] * (len(ids) - 1))


def exercise(prefix: list[int], questions: list[tuple[list[int], list[int]]]) -> Piece:
    """A passage and its (question, answer) branches, each going on from the end of the passage."""
    piece, depth = plain(list(prefix)), len(prefix)
    for number, (question, answer) in enumerate(questions):
        size = len(question) + len(answer)
        piece.ids.extend(question + answer)
        piece.positions.extend(range(depth, depth + size))
        piece.branch.extend([number] * size)
        piece.weight.extend([0] + [1] * (len(question) - 1) + [ANSWER_WEIGHT] * len(answer))
    return piece


class Row(NamedTuple):
    """One training row; every array is [block]."""

    ids: np.ndarray
    positions: np.ndarray
    piece: np.ndarray
    branch: np.ndarray
    weight: np.ndarray


def pack(solid: Iterator[Piece], text: Iterator[Piece], block: int, rows: int, exercises: float) -> list[Row]:
    """At most `rows` rows: whole exercises up to their share `exercises` of the tokens, and plain text, cut to fit.

    Every exercise fits into a block. Stops early when the text ends.
    """
    found: list[Row] = []
    waiting, rest, practised = next(solid, None), None, 0
    try:
        while len(found) < rows:
            parts, used = [], 0
            while used < block:
                room = block - used
                if waiting and len(waiting.ids) <= room and practised <= exercises * (len(found) * block + used):
                    parts.append(waiting)
                    practised += len(waiting.ids)
                    waiting = next(solid, None)
                else:
                    rest = rest or next(text)
                    parts.append(Piece(*(part[:room] for part in rest)))
                    rest = plain(rest.ids[room:]) if len(rest.ids) > room else None
                used += len(parts[-1].ids)
            found.append(_row(parts))
    except StopIteration:
        pass
    return found


def _row(parts: list[Piece]) -> Row:
    number = np.repeat(np.arange(len(parts), dtype=np.int16), [len(part.ids) for part in parts])
    joined = ([value for part in parts for value in part[field]] for field in range(4))
    ids, positions, branch, weight = joined
    return Row(
        np.array(ids, np.int32),
        np.array(positions, np.int16),
        number,
        np.array(branch, np.int8),
        np.array(weight, np.int8),
    )


def collate(rows: list[Row]) -> dict[str, torch.Tensor]:
    """A batch: ids, positions [B, T], mask [B, 1, T, T], and loss weights of the next token [B, T] (0: not asked)."""
    ids, positions, piece, branch, weight = (
        torch.from_numpy(np.stack(field).astype(np.int64)) for field in zip(*rows, strict=True)
    )
    length = ids.shape[1]
    together = piece[:, :, None].eq(piece[:, None, :])
    on_path = branch[:, None, :].eq(TRUNK) | branch[:, :, None].eq(branch[:, None, :])
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    follows = piece[:, 1:].eq(piece[:, :-1]) & branch[:, 1:].eq(branch[:, :-1])
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": (together & on_path & causal)[:, None],
        "labels": ids[:, 1:],
        "weights": weight[:, 1:] * follows,
    }
