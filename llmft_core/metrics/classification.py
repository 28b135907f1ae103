"""Scores of a task with labels. An answer that is no label is -1, "invalid": a third outcome, and wrong.

Precision, recall and F1 are those of label 1 ("positive"), as GLUE means them; F1 macro is the plain mean over labels.
No "weighted" average: its recall is the accuracy under another name. With more than two labels all three are macro
means.
"""

import numpy as np
import pandas as pd

from llmft_core.metrics.calibration import calibration_error, calibration_gaps
from llmft_core.metrics.tally import Tally, ratio


def classification(gold, predicted, p_positive=None, labels: int = 2) -> dict[str, float]:
    """Accuracy, precision, recall, F1, F1 macro, share of invalid answers; AUROC and ECE if probabilities are given.

    `gold` and `predicted` are label numbers [n], -1 for an invalid prediction; `p_positive` [n] the probability of
    label 1 among the labels (NaN: none). AUROC is left out when only one label occurs. Raises ValueError if n is 0 or
    lengths differ.
    """
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    gold, predicted, p_positive = _checked(gold, predicted, p_positive)
    scores = precision_recall_fscore_support(gold, predicted, labels=range(labels), average=None, zero_division=0)
    precision, recall, f1 = (float(score[1]) if labels == 2 else float(score.mean()) for score in scores[:3])
    found = {"accuracy": float((gold == predicted).mean()), "precision": precision, "recall": recall, "f1": f1}
    found |= {"f1_macro": float(scores[2].mean()), "invalid_rate": float((predicted < 0).mean())}
    usable = np.isfinite(p_positive)
    if labels == 2 and usable.any():
        if len(set(gold[usable])) == 2:
            found["auroc"] = float(roc_auc_score(gold[usable], p_positive[usable]))
        found["ece"] = calibration_error(gold, predicted, p_positive)
    return found


def confusion(gold, predicted, labels: int = 2) -> np.ndarray:
    """Counts [labels, labels + 1]: row = gold, column = predicted, last column = invalid."""
    gold, predicted, _ = _checked(gold, predicted, None)
    counts = np.zeros((labels, labels + 1), dtype=int)
    np.add.at(counts, (gold, np.where(predicted < 0, labels, predicted)), 1)
    return counts


def classification_tally(table: pd.DataFrame, labels: int = 2) -> Tally:
    """The same scores of prediction rows (columns gold, predicted and perhaps p_positive) for the bootstrap."""
    gold, predicted, p_positive = _checked(table["gold"], table["predicted"], table.get("p_positive"))
    number = np.arange(labels)
    is_gold, is_predicted = gold[:, None] == number, predicted[:, None] == number
    with_probability = labels == 2 and bool(np.isfinite(p_positive).any())
    gaps, counted = calibration_gaps(gold, predicted, p_positive)
    columns = [is_gold & is_predicted, is_predicted, is_gold, (predicted < 0)[:, None], np.ones((len(gold), 1))]
    columns += [counted[:, None], gaps] if with_probability else []
    finish = _Finish(labels, with_probability)
    return Tally(
        np.hstack(columns).astype(float), finish, {"auroc": (p_positive, gold == 1)} if with_probability else {}
    )


class _Finish:
    """Totals of the columns above to metrics; what is divided by nothing is 0, as with zero_division=0 above."""

    def __init__(self, labels: int, with_probability: bool) -> None:
        self.labels, self.with_probability = labels, with_probability

    def __call__(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        k = self.labels
        hits, predicted, gold = totals[:, :k], totals[:, k : 2 * k], totals[:, 2 * k : 3 * k]
        invalid, n = totals[:, 3 * k], totals[:, 3 * k + 1]
        f1 = ratio(2 * hits, predicted + gold, empty=0)
        scores = {"precision": ratio(hits, predicted, empty=0), "recall": ratio(hits, gold, empty=0), "f1": f1}
        found = {name: score[:, 1] if k == 2 else score.mean(axis=1) for name, score in scores.items()}
        found |= {
            "accuracy": ratio(hits.sum(axis=1), n),
            "f1_macro": f1.mean(axis=1),
            "invalid_rate": ratio(invalid, n),
        }
        if self.with_probability:
            found["ece"] = ratio(np.abs(totals[:, 3 * k + 3 :]).sum(axis=1), totals[:, 3 * k + 2])
        return found


def _checked(gold, predicted, p_positive) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gold, predicted = np.asarray(gold, dtype=int), np.asarray(predicted, dtype=int)
    p_positive = np.full(len(gold), np.nan) if p_positive is None else np.asarray(p_positive, dtype=float)
    if not len(gold):
        raise ValueError("There are no predictions to score; give at least one.")
    if not len(gold) == len(predicted) == len(p_positive):
        raise ValueError(f"{len(gold)} gold labels but {len(predicted)} predictions; give one of each per example.")
    return gold, predicted, p_positive
