"""Intervals and paired tests: is the fine-tuned side really better, and by how much?

Both sides answer the same examples, so every comparison here is paired. Questions about one paragraph are not
independent, so the bootstrap draws whole groups. Intervals are 95 %: percentiles 2.5 and 97.5.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from llmft_core import metrics
from llmft_core.tasks.base import Task

DRAWS = 2000
_CHUNK = 4_000_000  # weights held at once (32 MB)

Measure = Callable[[pd.DataFrame], "metrics.Tally | dict[str, float]"]


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, good at small n and near 0 or 1; (0, 1) when nothing was seen."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(int(successes), int(n)).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(before_right, after_right) -> dict[str, float]:
    """Counts of the four fates of an item, and the exact two-sided binomial p of fixed against broken (McNemar 1947).

    Takes two bool arrays [n]. p is 1 if nothing was fixed and nothing broken.
    """
    from scipy.stats import binomtest

    before, after = np.asarray(before_right, dtype=bool), np.asarray(after_right, dtype=bool)
    fixed, broken = int((~before & after).sum()), int((before & ~after).sum())
    p = float(binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0
    both_right, both_wrong = int((before & after).sum()), int((~before & ~after).sum())
    return {"fixed": fixed, "broken": broken, "both_right": both_right, "both_wrong": both_wrong, "p": p}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for having looked at several metrics (Holm 1979), in the order given."""
    adjusted, floor = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = floor
    return {name: adjusted[name] for name in p_values}


def paired_bootstrap(
    before: pd.DataFrame, after: pd.DataFrame, measure: Measure, groups=None, draws: int = DRAWS, seed: int = 1
) -> dict[str, dict[str, float]]:
    """Draw the same groups of rows for both sides, `draws` times, and see how the metrics and their difference vary.

    Rows of the two tables belong together by position. `measure` gives a `metrics.Tally` (fast: 2,000 draws in
    seconds) or plain {metric: value} (slow: called for every draw). `groups` [n] names what is drawn as one piece;
    None: each row. -> {metric: before, after, delta, low, high (of delta), p, before_low, before_high, after_low,
    after_high}. p is two-sided, 2 (k + 1) / (draws + 1) with k draws on the far side of 0, and never below 2 /
    2**pieces, the least that any paired test can give. Raises ValueError if the tables differ in length or are empty.
    """
    if len(before) != len(after) or before.empty:
        raise ValueError(
            f"A paired comparison needs the same examples on both sides, not {len(before)} and {len(after)}."
        )
    piece = _pieces(groups, len(before))
    left, right = _weigher(before, measure), _weigher(after, measure)
    drawn = [_drawn(weigh, piece, draws, seed) for weigh in (left, right)]
    once = [{name: value[0] for name, value in weigh(np.ones((1, len(before)))).items()} for weigh in (left, right)]
    shared = [name for name in once[0] if name in once[1] and not np.isnan(once[0][name] + once[1][name])]
    return {name: _spread(*(o[name] for o in once), *(d[name] for d in drawn), piece.max() + 1) for name in shared}


def _pieces(groups, n: int) -> np.ndarray:
    """Group number [n] of each row. A single group cannot vary, so its rows then stand for themselves."""
    if groups is None:
        return np.arange(n)
    _, piece = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    return piece if piece.max() > 0 else np.arange(n)


def _weigher(table: pd.DataFrame, measure: Measure) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A function from weights [draws, n] to {metric: [draws]}."""
    measured = measure(table)
    if isinstance(measured, metrics.Tally):
        return measured.weighed
    rows = np.arange(len(table))

    def weigh(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [measure(table.iloc[np.repeat(rows, w.astype(int))]) for w in weights]
        return {name: np.array([values.get(name, np.nan) for values in found]) for name in measured}

    return weigh


def _drawn(weigh, piece: np.ndarray, draws: int, seed: int) -> dict[str, np.ndarray]:
    """{metric: [draws]}. The same seed gives the same draws, which is what pairs the two sides."""
    random = np.random.default_rng(seed)
    pieces, step = piece.max() + 1, max(1, _CHUNK // len(piece))
    parts = []
    for start in range(0, draws, step):
        size = min(step, draws - start)
        chosen = random.integers(pieces, size=(size, pieces)) + pieces * np.arange(size)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=size * pieces).reshape(size, pieces)
        parts.append(weigh(counts[:, piece]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _spread(before: float, after: float, befores: np.ndarray, afters: np.ndarray, pieces: int) -> dict[str, float]:
    deltas = afters - befores
    deltas = deltas[~np.isnan(deltas)]
    least = min(int((deltas <= 0).sum()), int((deltas >= 0).sum()))
    p = max(min(1.0, 2 * (least + 1) / (len(deltas) + 1)), 2.0 ** (1 - min(pieces, 1000)))
    found = {"before": float(before), "after": float(after), "delta": float(after - before), "p": p}
    for prefix, point, values in (
        ("", after - before, deltas),
        ("before_", before, befores),
        ("after_", after, afters),
    ):
        low, high = np.nanpercentile(values, (2.5, 97.5)) if len(values) else (point, point)
        # A resampled ECE lies a little too high: without this, its interval can miss the value that it belongs to.
        found |= {f"{prefix}low": float(min(low, point)), f"{prefix}high": float(max(high, point))}
    return found


def right(table: pd.DataFrame) -> np.ndarray:
    """Whether each prediction is right [n]: an exact match where there is such a column, else full marks."""
    return table["exact_match" if "exact_match" in table else "correct"].to_numpy(dtype=float) >= 1


def verdict(task: Task, before: pd.DataFrame, after: pd.DataFrame, draws: int = DRAWS, seed: int = 1) -> dict:
    """The paired verdict on two sides' prediction rows, as `compare --json` prints it.

    -> task, n, zero_shot and fine_tuned {metric: 0..1}, delta {metric: value, low, high, p, p_holm}, flips, intervals.
    The p of accuracy is McNemar's, exact; the others come from the paired bootstrap over groups. Accuracy's own
    interval is Wilson's when no two rows share a group. Raises ValueError if the sides do not hold the same examples.
    """
    before, after = _paired(before, after)
    groups = before.get("group")
    found = _compared(task, before, after, groups, draws, seed)
    flips = mcnemar(right(before), right(after))
    if task.labels and "accuracy" in found:
        found["accuracy"]["p"] = flips["p"]
        if groups is None or groups.is_unique or groups.nunique() == 1:  # see `_pieces`
            for side, table in (("before", before), ("after", after)):
                interval = wilson(round(found["accuracy"][side] * len(table)), len(table))
                found["accuracy"] |= dict(zip((f"{side}_low", f"{side}_high"), interval, strict=True))
    corrected = holm({name: row["p"] for name, row in found.items()})
    delta = {
        name: {"value": row["delta"], "low": row["low"], "high": row["high"], "p": row["p"], "p_holm": corrected[name]}
        for name, row in found.items()
    }
    sides = {"zero_shot": "before", "fine_tuned": "after"}
    values = {side: {name: row[key] for name, row in found.items()} for side, key in sides.items()}
    intervals = {
        side: {name: [row[f"{key}_low"], row[f"{key}_high"]] for name, row in found.items()}
        for side, key in sides.items()
    }
    return {"task": task.name, "n": len(before), **values, "delta": delta, "flips": flips, "intervals": intervals}


def intervals(task: Task, table: pd.DataFrame) -> dict[str, list[float]]:
    """{metric: [low, high]} of one side, as its half of a verdict has them. Raises ValueError for no rows.

    What is the same in every draw (a single row, a recall of 100 %) has none: drawing again says nothing about it.
    """
    found = verdict(task, table, table)["intervals"]["fine_tuned"]
    return {name: ends for name, ends in found.items() if ends[0] < ends[1]}


def _paired(before: pd.DataFrame, after: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables in the order of `before`."""
    first, second = before["id"].astype(str), after["id"].astype(str)
    if not (first.is_unique and second.is_unique):
        raise ValueError("An example occurs twice on one side; give one prediction row per example and side.")
    if set(first) != set(second):
        lone = len(set(first) ^ set(second))
        raise ValueError(f"The sides hold different examples ({lone} are on one side only); score both again.")
    return before.reset_index(drop=True), after.set_index(second).loc[first].reset_index(drop=True)


def _compared(task: Task, before, after, groups, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Every metric of the task: by tally where that agrees with the task's own `summarise`, else by the slow path."""
    tally = _tally(task, before)
    fast = paired_bootstrap(before, after, tally, groups, draws, seed) if tally else {}
    if task.summarise is None:
        return fast
    own = [task.summarise(table) for table in (before, after)]
    names = [name for name in own[0] if name in own[1] and not np.isnan(own[0][name] + own[1][name])]
    agreeing = {name for name in names if name in fast and _agrees(fast[name], own[0][name], own[1][name])}
    slow = {}
    if not agreeing.issuperset(names):
        slow = paired_bootstrap(before, after, task.summarise, groups, max(1, draws // 4), seed)
    return {name: fast[name] if name in agreeing else slow[name] for name in names}


def _tally(task: Task, table: pd.DataFrame) -> Measure | None:
    if task.labels:
        return lambda rows: metrics.classification_tally(rows, len(task.labels))
    return metrics.squad_tally if {"has_answer", "answer", "exact_match", "f1"} <= set(table.columns) else None


def _agrees(row: dict[str, float], before: float, after: float) -> bool:
    return bool(np.allclose([row["before"], row["after"]], [before, after], rtol=0, atol=1e-9))
