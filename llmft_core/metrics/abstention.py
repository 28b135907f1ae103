"""When to keep silent: abstentions, and the no-answer threshold of SQuAD v2, safe under ties and held out.

The official search for the best threshold walks through items with equal probabilities as if they could be told apart,
so it can report a score that no threshold reaches; and it is fitted on the items that it is reported on. Ours does
neither.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from llmft_core.metrics.squad import normalise


class Threshold(NamedTuple):
    """Abstain where p_no_answer > value; `score` is the mean that this gives on the items it was fitted on."""

    value: float
    score: float


def abstained(answers: Iterable[str]) -> np.ndarray:
    """Whether each answer counts as "no answer": empty in the official normal form."""
    return np.array([not normalise(answer) for answer in answers], dtype=bool)


def apply_threshold(scores, has_answer, p_no_answer, threshold: float) -> np.ndarray:
    """Scores [n] after abstaining where p_no_answer > threshold (strictly, as the official script does)."""
    scores, silent_scores, p_no_answer = _arrays(scores, has_answer, p_no_answer)
    return np.where(p_no_answer > threshold, silent_scores, scores)


def best_threshold(scores, has_answer, p_no_answer) -> Threshold:
    """The threshold with the best mean score; of equals the one that abstains least.

    Candidates are the probabilities that occur, and one below them all (abstain always): items with one probability
    are answered together or not at all, so `apply_threshold` always reaches `score`. Arrays [n], `scores` being those
    of the answers as written.
    """
    scores, silent_scores, p_no_answer = _arrays(scores, has_answer, p_no_answer)
    order = np.argsort(p_no_answer, kind="stable")
    ordered = p_no_answer[order]
    last_of_its_value = np.append(ordered[1:] != ordered[:-1], True)
    gained = np.cumsum((scores - silent_scores)[order])[last_of_its_value]
    values = np.append(min(ordered[0] - 1, -1.0), ordered[last_of_its_value])
    totals = silent_scores.sum() + np.append(0.0, gained)
    best = np.flatnonzero(totals >= totals.max() - 1e-9)[-1]
    return Threshold(float(values[best]), float(totals[best] / len(scores)))


def threshold_report(scores, has_answer, p_no_answer, groups=None, seed: int = 1) -> dict[str, float]:
    """What a threshold brings on items that it was not fitted on: each half (of groups) takes the other's best.

    -> as_written (no threshold), held_out, in_sample (an optimum after the fact), threshold (fitted on all items).
    """
    scores, has_answer, p_no_answer = (
        np.asarray(scores, float),
        np.asarray(has_answer, bool),
        np.asarray(p_no_answer, float),
    )
    _, piece = np.unique(np.arange(len(scores)) if groups is None else np.asarray(groups), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(piece.max() + 1)
    half = (shuffled % 2).astype(bool)[piece]
    held_out = scores.copy()
    for fitted_on in (half, ~half):
        if fitted_on.any() and not fitted_on.all():
            fitted = best_threshold(scores[fitted_on], has_answer[fitted_on], p_no_answer[fitted_on])
            other = ~fitted_on
            held_out[other] = apply_threshold(scores[other], has_answer[other], p_no_answer[other], fitted.value)
    best = best_threshold(scores, has_answer, p_no_answer)
    return {
        "as_written": float(scores.mean()),
        "held_out": float(held_out.mean()),
        "in_sample": best.score,
        "threshold": best.value,
    }


def _arrays(scores, has_answer, p_no_answer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, scores of silence (1 where there is no answer) and probabilities, in float64 so that ties stay ties."""
    scores, p_no_answer = np.asarray(scores, dtype=float), np.asarray(p_no_answer, dtype=float)
    if not len(scores) or not np.isfinite(p_no_answer).all():
        raise ValueError("A threshold needs at least one item, and a finite p_no_answer for each.")
    return scores, (~np.asarray(has_answer, dtype=bool)).astype(float), p_no_answer
