"""What lies behind a score: how probable, how often silent, which label for which."""

import numpy as np
import pandas as pd

from llmft_core import metrics, statistics
from llmft_core.frames import reading
from llmft_core.frames.reading import SIDES, Run

RELIABILITY_COLUMNS = ("side", "low_edge", "high_edge", "predicted", "observed", "low", "high", "n")
CONFUSION_COLUMNS = ("side", "gold", "predicted", "count", "share")
ABSTENTION_COLUMNS = ("side", "has_answer", "abstained", "count", "share")
QUALITY_COLUMNS = ("side", "metric", "group", "value", "low", "high", "n")
HISTOGRAM_COLUMNS = ("side", "score", "group", "low_edge", "high_edge", "count", "share")
INVALID = "invalid"


def reliability(run: Run, bins: int = 10, calibrated: bool = False) -> pd.DataFrame:
    """P(positive) against the share that is positive, one row per side and bin that holds something.

    -> side, low_edge, high_edge, predicted (mean probability), observed, low, high (95 % of observed, Wilson), n.
    `calibrated` takes a constant preference for one label out first (`metrics.calibrate`). Two labels only.
    """
    sides = reading.sides(run)
    if not sides or not {"gold", "p_positive"} <= set(sides["zero_shot"].columns):
        return reading.table([], RELIABILITY_COLUMNS)
    records = []
    for side, rows in sides.items():
        p, positive = _p_positive(rows, calibrated), rows["gold"].to_numpy() == 1
        p, positive = p[np.isfinite(p)], positive[np.isfinite(p)]
        bin_of = np.minimum((p * bins).astype(int), bins - 1)
        for number in np.unique(bin_of):
            here = bin_of == number
            low, high = statistics.wilson(int(positive[here].sum()), int(here.sum()))
            row = (
                side,
                number / bins,
                (number + 1) / bins,
                p[here].mean(),
                positive[here].mean(),
                low,
                high,
                here.sum(),
            )
            records.append(dict(zip(RELIABILITY_COLUMNS, row, strict=True)))
    return reading.table(records, RELIABILITY_COLUMNS)


def _p_positive(rows: pd.DataFrame, calibrated: bool) -> np.ndarray:
    if calibrated and {"logp_0", "logp_1"} <= set(rows.columns):
        return metrics.calibrate(rows[["logp_0", "logp_1"]].to_numpy(dtype=float))[:, 1]
    return rows["p_positive"].to_numpy(dtype=float)


def confusion(run: Run) -> pd.DataFrame:
    """Gold label against predicted label, every pair of both sides, `invalid` last among the predicted.

    -> side, gold, predicted (names), count, share (of the items with that gold label).
    """
    sides = reading.sides(run)
    if not sides or "predicted" not in sides["zero_shot"]:
        return reading.table([], CONFUSION_COLUMNS)
    names = _labels(run, sides)
    records = []
    for side, rows in sides.items():
        counts = metrics.confusion(rows["gold"], rows["predicted"], labels=len(names))
        for gold, line in zip(names, counts, strict=True):
            total = max(1, line.sum())
            for predicted, count in zip((*names, INVALID), line, strict=True):
                row = (side, gold, predicted, int(count), count / total)
                records.append(dict(zip(CONFUSION_COLUMNS, row, strict=True)))
    return reading.table(records, CONFUSION_COLUMNS)


def _labels(run: Run, sides: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    task = reading.task(run)
    if task and task.labels:
        return task.labels
    highest = max(int(rows[["gold", "predicted"]].to_numpy().max()) for rows in sides.values())
    return tuple(str(number) for number in range(max(highest, 1) + 1))


def abstention(run: Run) -> pd.DataFrame:
    """Did it answer where there is an answer, and keep silent where there is none?

    -> side, has_answer, abstained (both bool), count, share (of the items with that has_answer); four rows a side.
    """
    sides = reading.sides(run)
    if not sides or "has_answer" not in sides["zero_shot"]:
        return reading.table([], ABSTENTION_COLUMNS)
    records = []
    for side, rows in sides.items():
        silent, has = metrics.abstained(rows["answer"].fillna("")), rows["has_answer"].to_numpy(dtype=bool)
        for answerable in (True, False):
            for abstained in (False, True):
                count = int(((silent == abstained) & (has == answerable)).sum())
                row = (side, answerable, abstained, count, count / max(1, int((has == answerable).sum())))
                records.append(dict(zip(ABSTENTION_COLUMNS, row, strict=True)))
    return reading.table(records, ABSTENTION_COLUMNS)


def answer_quality(run: Run) -> pd.DataFrame:
    """Exact match and F1 of the questions with and without an answer, apart.

    -> side, metric (exact_match, f1), group (answerable, unanswerable), value, low, high (95 %), n (items; NaN if
    unknown). Empty unless the run has measured them.
    """
    scores, sides = reading.scores(run), reading.sides(run)
    has = sides["zero_shot"]["has_answer"].astype(bool) if sides and "has_answer" in sides["zero_shot"] else None
    records = []
    for side in SIDES:
        for group, prefix in (("answerable", "has_answer"), ("unanswerable", "no_answer")):
            n = np.nan if has is None else int((has == (group == "answerable")).sum())
            for metric in ("exact_match", "f1"):
                name = f"{prefix}_{metric}"
                value = scores.get(side, {}).get(name)
                if value is None:
                    continue
                low, high = reading.interval((scores.get("intervals") or {}).get(side, {}).get(name))
                row = (side, metric, group, value, low, high, n)
                records.append(dict(zip(QUALITY_COLUMNS, row, strict=True)))
    return reading.table(records, QUALITY_COLUMNS)


def score_histogram(run: Run, bins: int = 20) -> pd.DataFrame:
    """How probable the model finds "positive" (or "no answer"), for the items that are and those that are not.

    -> side, score (`P(positive)` or `P(no answer)`), group (true class; the one that should score high comes first),
    low_edge, high_edge, count, share (of the side's items of that class).
    """
    sides = reading.sides(run)
    plan = _score_of(run, sides) if sides else None
    if plan is None:
        return reading.table([], HISTOGRAM_COLUMNS)
    column, score, truth, names = plan
    edges = np.linspace(0, 1, bins + 1)
    records = []
    for side, rows in sides.items():
        values = rows[column].to_numpy(dtype=float)
        for name, wanted in zip(names, (True, False), strict=True):
            here = values[(truth(rows) == wanted) & np.isfinite(values)]
            counts, _ = np.histogram(here, edges)
            for low, high, count in zip(edges, edges[1:], counts, strict=False):
                row = (side, score, name, low, high, int(count), count / max(1, len(here)))
                records.append(dict(zip(HISTOGRAM_COLUMNS, row, strict=True)))
    return reading.table(records, HISTOGRAM_COLUMNS)


def _score_of(run: Run, sides: dict[str, pd.DataFrame]):
    """Column of the probability, its name on the axis, which rows should score high, and the names of the classes."""
    columns = set(sides["zero_shot"].columns)
    if {"p_positive", "gold"} <= columns:
        names = _labels(run, sides)
        return "p_positive", f"P({names[1]})", lambda rows: rows["gold"].to_numpy() == 1, (names[1], names[0])
    if {"p_no_answer", "has_answer"} <= columns:
        is_empty = lambda rows: ~rows["has_answer"].to_numpy(dtype=bool)  # noqa: E731
        return "p_no_answer", "P(no answer)", is_empty, ("unanswerable", "answerable")
    return None
