"""A whole table of SQuAD v2 predictions to metrics: all questions, those with an answer, those without."""

import numpy as np
import pandas as pd

from llmft_core.metrics.abstention import abstained
from llmft_core.metrics.overlap import bleu_from_stats, bleu_stats
from llmft_core.metrics.tally import Tally, ratio

OVERLAPS = ("meteor", "rouge1", "rouge2", "rougeL", "bleu_sentence")


def squad_summary(table: pd.DataFrame) -> dict[str, float]:
    """Metrics in 0..1 of prediction rows: has_answer, answer (parsed), exact_match, f1 and what else there is.

    Of the overlap metrics (answerable questions only) those are given whose columns are there: meteor, rouge1, rouge2,
    rougeL, bleu_sentence; corpus "bleu" from `bleu_stats` or from `golds`; "auroc_no_answer" from p_no_answer. A metric
    with no rows to speak of (no unanswerable question) is left out. Raises ValueError for an empty table.
    """
    return squad_tally(table).values()


def squad_tally(table: pd.DataFrame) -> Tally:
    """The metrics of `squad_summary` for the bootstrap."""
    if table.empty:
        raise ValueError("There are no predictions to score; give at least one.")
    has = table["has_answer"].to_numpy(dtype=bool)
    exact, f1 = table["exact_match"].to_numpy(dtype=float), table["f1"].to_numpy(dtype=float)
    overlaps = tuple(name for name in OVERLAPS if name in table)
    columns = [has, ~has, exact * has, f1 * has, exact * ~has, f1 * ~has, abstained(table["answer"])]
    columns += [np.where(has, table[name].to_numpy(dtype=float), 0.0) for name in overlaps]
    stats = _bleu_columns(table, has)
    sums = np.column_stack([*columns, *([] if stats is None else [stats])]).astype(float)
    return Tally(sums, _Finish(overlaps, stats is not None), _ranked(table, has))


class _Finish:
    """Totals of the columns above to metrics."""

    def __init__(self, overlaps: tuple[str, ...], with_bleu: bool) -> None:
        self.overlaps, self.with_bleu = overlaps, with_bleu

    def __call__(self, totals: np.ndarray) -> dict[str, np.ndarray]:
        has, no, has_exact, has_f1, no_exact, no_f1, silent = totals[:, :7].T
        found = {
            "exact_match": ratio(has_exact + no_exact, has + no),
            "f1": ratio(has_f1 + no_f1, has + no),
            "has_answer_exact_match": ratio(has_exact, has),
            "has_answer_f1": ratio(has_f1, has),
            "no_answer_exact_match": ratio(no_exact, no),
            "no_answer_f1": ratio(no_f1, no),
            "abstention_rate": ratio(silent, has + no),
        }
        if self.with_bleu:
            corpus = np.array([bleu_from_stats(row) for row in np.rint(totals[:, -10:])])
            found["bleu"] = np.where(has > 0, corpus, np.nan)
        return found | {name: ratio(totals[:, 7 + i], has) for i, name in enumerate(self.overlaps)}


def _bleu_columns(table: pd.DataFrame, has: np.ndarray) -> np.ndarray | None:
    """BLEU's counts [n, 10], zero for questions without an answer; None if the table tells neither counts nor golds."""
    columns = np.zeros((len(table), 10))
    if "bleu_stats" in table:
        found = list(table["bleu_stats"][has])
    elif "golds" in table:
        found = [
            bleu_stats(answer, golds) for answer, golds in zip(table["answer"][has], table["golds"][has], strict=True)
        ]
    else:
        return None
    if found:
        columns[has] = np.stack(found)
    return columns


def _ranked(table: pd.DataFrame, has: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if "p_no_answer" not in table:
        return {}
    return {"auroc_no_answer": (table["p_no_answer"].to_numpy(dtype=float), ~has)}
