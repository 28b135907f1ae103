"""Before and after: the metrics side by side, and which items were fixed or broken."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from llmft_core import statistics, words
from llmft_core.frames import reading
from llmft_core.frames.reading import SIDES, Run
from llmft_core.tasks import Example

METRIC_COLUMNS = (
    "metric", "title", "zero_shot", "zero_low", "zero_high", "fine_tuned", "fine_low", "fine_high",
    "delta", "delta_low", "delta_high", "p", "better", "baseline", "ceiling", "headline",
)  # fmt: skip
ITEM_COLUMNS = ("box", "id", "text", "shared", "gold", "zero_shot", "fine_tuned", "change")
BOXES = {
    "fixed": "Fixed: wrong before, right now",
    "both_wrong": "Both wrong",
    "both_right": "Both right",
    "broken": "Broken: right before, wrong now",
}


def metric_table(run: Run, only: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row per metric: those of the task's table first, in its order, then the rest; `only` keeps those named.

    -> metric, title, zero_shot, zero_low, zero_high, fine_tuned, fine_low, fine_high, delta, delta_low, delta_high, p,
    better (True, False, or None for no clear difference), baseline, ceiling, headline (True for one row). All 0..1.
    """
    scores, task = reading.scores(run), reading.task(run)
    measured = [name for name in scores.get("fine_tuned", {}) if name in scores.get("zero_shot", {})]
    first = (task.headline, *task.table_metrics) if task else ()
    order = [*first, *words.METRICS, *measured]
    names = sorted(set(measured), key=order.index)
    headline = task.headline if task else words.headline(scores)
    names = [name for name in only if name in measured] if only else names
    return reading.table([_metric_row(scores, name, headline) for name in names], METRIC_COLUMNS)


def _metric_row(scores: dict, name: str, headline: str) -> dict:
    before, after = (reading.number(scores[side][name]) for side in SIDES)
    intervals, change = scores.get("intervals") or {}, (scores.get("delta") or {}).get(name) or {}
    zero, fine = (reading.interval((intervals.get(side) or {}).get(name)) for side in SIDES)
    delta, low, high, p = (reading.number(change.get(key)) for key in ("value", "low", "high", "p"))
    delta = after - before if np.isnan(delta) else delta
    kind = words.kind_of(name, delta, low, high, p)
    return {
        "metric": name, "title": words.metric(name).title,
        "zero_shot": before, "zero_low": zero[0], "zero_high": zero[1],
        "fine_tuned": after, "fine_low": fine[0], "fine_high": fine[1],
        "delta": delta, "delta_low": low, "delta_high": high, "p": p,
        "better": None if kind == "unclear" else kind == "better",
        "baseline": reading.number((scores.get("baseline") or {}).get(name)),
        "ceiling": reading.number((scores.get("ceiling") or {}).get(name)), "headline": name == headline,
    }  # fmt: skip


def flips(run: Run) -> pd.DataFrame:
    """The four fates of the test items -> box, title, count, in reading order of the 2 × 2; empty without a result."""
    counts = reading.scores(run).get("flips")
    if not counts:
        boxes = _boxes(reading.sides(run))
        counts = {box: int((boxes == box).sum()) for box in BOXES} if len(boxes) else {}
    rows = [{"box": box, "title": title, "count": int(counts[box])} for box, title in BOXES.items() if box in counts]
    return reading.table(rows, ("box", "title", "count"))


def item_table(run: Run, texts: Mapping[str, Example] | None = None, box: str = "") -> pd.DataFrame:
    """The test items of one box (`fixed`, `broken`, `both_right`, `both_wrong`; empty: of all), most changed first.

    -> box, id, text, shared, gold, zero_shot, fine_tuned (what each side answered, in words), change: how much further
    the right label stands above the best wrong one (log-probability), for free text the change of F1 (-1..1). `texts`
    are the examples by id: without them text and shared are empty, as is the gold of free text that has an answer.
    """
    if box and box not in BOXES:
        raise ValueError(f"'{box}' is no box; choose one of {', '.join(BOXES)}.")
    sides = reading.sides(run)
    if not sides:
        return reading.table([], ITEM_COLUMNS)
    before, after = sides["zero_shot"], sides["fine_tuned"]
    names = _label_names(run, sides)
    frame = pd.DataFrame({"box": _boxes(sides), "id": before["id"].astype(str)})
    examples = [(texts or {}).get(id) for id in frame["id"]]
    frame["text"] = [example.question if example else "" for example in examples]
    frame["shared"] = [example.shared if example else "" for example in examples]
    frame["gold"] = _gold(before, names, examples)
    for side, rows in sides.items():
        frame[side] = [answer or ("invalid" if names else "no answer") for answer in rows["answer"].fillna("")]
    frame["change"] = _change(before, after)
    frame = frame[frame["box"] == box] if box else frame
    key = frame["change"].abs() if box in ("", "both_right", "both_wrong") else frame["change"]
    order = key.sort_values(ascending=box == "broken", kind="stable", na_position="last").index
    return frame.loc[order, list(ITEM_COLUMNS)].reset_index(drop=True)


def _boxes(sides: dict[str, pd.DataFrame]) -> np.ndarray:
    """The box [n] of each item."""
    if not sides:
        return np.array([], dtype=str)
    was, now = (statistics.right(sides[side]) for side in SIDES)
    return np.select([was & now, ~was & now, was & ~now], ["both_right", "fixed", "broken"], "both_wrong")


def _label_names(run: Run, sides: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    """Names of the labels in order of their numbers; () for free text."""
    if "gold" not in sides["zero_shot"]:
        return ()
    task = reading.task(run)
    if task and task.labels:
        return task.labels
    return tuple(str(number) for number in range(int(sides["zero_shot"]["gold"].max()) + 1))


def _gold(rows: pd.DataFrame, names: tuple[str, ...], examples: list[Example | None]) -> list[str]:
    if names:
        return [names[number] for number in rows["gold"]]
    known = [" / ".join(example.answers) if example else "" for example in examples]
    has_answer = rows["has_answer"] if "has_answer" in rows else pd.Series(True, index=rows.index)
    return [text if has else "no answer" for text, has in zip(known, has_answer, strict=True)]


def _change(before: pd.DataFrame, after: pd.DataFrame) -> np.ndarray:
    names = [column for column in before if column.startswith("logp_")]
    if len(names) < 2 or "gold" not in before:
        return (after["correct"] - before["correct"]).to_numpy(dtype=float)
    names = [f"logp_{number}" for number in range(len(names))]
    gold = before["gold"].to_numpy(dtype=int)[:, None]
    is_gold = np.arange(len(names)) == gold
    margins = []
    for rows in (before, after):
        log_probs = rows[names].to_numpy(dtype=float)
        rival = np.where(is_gold, -np.inf, log_probs).max(axis=1)
        margins.append(log_probs[is_gold] - rival)
    return margins[1] - margins[0]
