"""What explains the curves of bench scaling: each token costs something, and so does each pair of tokens in a row.

    seconds of a tree of T tokens = a · T + b · T²

A pass computes attention for all pairs of a row, seen or not, which makes them T². What a pass costs whatever it holds
is in `a`, spread over its tokens.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls


def fit(tokens: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """Least squares with neither coefficient below zero: a (seconds per token), b (seconds per pair), and R²."""
    lengths, taken = np.asarray(tokens, dtype=float), np.asarray(seconds, dtype=float)
    columns = np.stack([lengths, lengths**2], 1)
    scale = columns.max(0)
    found = nnls(columns / scale, taken)[0] / scale
    spread = np.square(taken - taken.mean()).sum()
    missed = np.square(taken - columns @ found).sum()
    return {"a": float(found[0]), "b": float(found[1]), "r2": float(1 - missed / spread) if spread else 0.0}


def tree_seconds(fitted: dict[str, float], tokens: int) -> float:
    """Seconds of a row of so many tokens."""
    return fitted["a"] * tokens + fitted["b"] * tokens**2


def gain(fitted: dict[str, float], paragraph: int, questions: int, question: int) -> float:
    """How many times as fast one tree is as a row for each of its questions; `question` counts the answer's tokens."""
    rows = questions * tree_seconds(fitted, paragraph + question)
    return rows / tree_seconds(fitted, paragraph + questions * question)
