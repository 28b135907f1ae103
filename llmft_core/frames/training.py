"""The list of runs, and what a run said while it learnt."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from llmft_core import events, statistics, words
from llmft_core.frames import reading
from llmft_core.frames.reading import Run

RUN_COLUMNS = (
    "name", "title", "state", "kind", "task", "model", "method", "split", "metric",
    "zero_shot", "fine_tuned", "change", "low", "high", "p", "seconds", "shipped", "source",
)  # fmt: skip
CURVE_COLUMNS = (
    "step", "steps", "loss", "learning_rate", "examples", "examples_per_second",
    "side", "metric", "value", "low", "high", "n",
)  # fmt: skip
LONGEST = 1000  # points of a curve; more cannot be seen and slow the page down


def runs_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per run, in the order given.

    -> name, title, state (a shape and words), kind (of the state), task, model, method, split, metric (name of the
    headline), zero_shot, fine_tuned, change, low and high (of the change), p, seconds, shipped, source (of
    the rows). Shares are 0..1.
    """
    return reading.table([_run_row(run) for run in runs], RUN_COLUMNS)


def _run_row(run: Run) -> dict:
    state, settings = run.state(), run.config.resolved()
    head = run.headline() or {}
    before, after = head.get("zero_shot"), head.get("fine_tuned")
    change = None if before is None or after is None else after - before
    return {
        "name": run.name, "title": run.title(), "state": words.state(*state), "kind": state[0],
        "task": settings.task, "model": settings.model, "method": settings.method, "split": settings.split,
        "metric": head.get("metric", ""), "zero_shot": before, "fine_tuned": after, "change": change,
        "low": head.get("low"), "high": head.get("high"), "p": head.get("p"),
        "seconds": run.seconds() or None, "shipped": run.shipped,
        "source": reading.scores(run).get("source") or "",
    }  # fmt: skip


def learning_curve(run: Run) -> pd.DataFrame:
    """What the run said while it learnt: a row per logged step (loss …) and a row per probe (value …).

    -> step, steps (the last one planned), loss, learning_rate, examples, examples_per_second; side, metric, value, low,
    high, n of a probe (95 % interval after Wilson, as if each item were right or wrong). The zero-shot probe is
    step 0. What was said twice (a resumed run) counts once, the later one. At most 1,000 steps: more are averaged.
    """
    said = run.history()
    steps = {e.step: e for e in said if isinstance(e, events.Step)}
    probes = {(e.side, e.step): e for e in said if isinstance(e, events.Evaluated) and not e.final}
    planned = max((e.steps for e in steps.values()), default=0)
    names = ("step", "loss", "learning_rate", "examples", "examples_per_second")
    learnt = _thinned(pd.DataFrame([{name: getattr(e, name) for name in names} for e in steps.values()], columns=names))
    task = reading.task(run)
    seen = reading.table([_probe_row(e, task.headline if task else "") for e in probes.values()], CURVE_COLUMNS[6:])
    seen.insert(0, "step", [e.step for e in probes.values()])
    both = pd.concat([learnt, seen], ignore_index=True).reindex(columns=CURVE_COLUMNS)
    both["steps"] = max(planned, int(both["step"].max()) if len(both) else 0)
    return both.sort_values("step", kind="stable", ignore_index=True)


def _probe_row(event: events.Evaluated, headline: str) -> dict:
    metric = headline if headline in event.metrics else next(iter(event.metrics), "")
    value = event.metrics.get(metric)
    row = {"side": event.side, "metric": metric, "value": value, "n": event.n}
    if words.is_missing(value) or not event.n:
        return row | {"value": np.nan, "low": np.nan, "high": np.nan}
    low, high = statistics.wilson(round(min(1.0, max(0.0, value)) * event.n), event.n)
    return row | {"low": min(low, value), "high": max(high, value)}


def _thinned(steps: pd.DataFrame) -> pd.DataFrame:
    steps = steps.sort_values("step", ignore_index=True).astype(float)
    if len(steps) <= LONGEST:
        return steps
    bins = np.arange(len(steps)) * LONGEST // len(steps)
    grouped = steps.groupby(bins)
    return grouped.mean().assign(step=grouped["step"].last(), examples=grouped["examples"].last())
