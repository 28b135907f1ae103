"""What all frames ask of a run, with "not there" and "damaged" made equal: an empty answer (its state says which)."""

from typing import Any, Protocol

import numpy as np
import pandas as pd

from llmft_core import events, tasks
from llmft_core.config import RunConfig

SIDES = ("zero_shot", "fine_tuned")


class Run(Protocol):
    """The part of `runs.Run` that frames use."""

    name: str
    config: RunConfig
    shipped: bool

    def history(self) -> list[events.Event]: ...
    def state(self) -> tuple[str, ...]: ...
    def predictions(self) -> pd.DataFrame: ...
    def metrics(self) -> dict | None: ...
    def weights(self) -> pd.DataFrame | None: ...
    def title(self) -> str: ...
    def headline(self) -> dict | None: ...
    def seconds(self) -> float | None: ...


def task(run: Run) -> tasks.Task | None:
    """The run's task, or None when this version does not know it."""
    try:
        return tasks.find(run.config.task)
    except ValueError:
        return None


def scores(run: Run) -> dict[str, Any]:
    """metrics.json, or {}."""
    try:
        return run.metrics() or {}
    except ValueError:
        return {}


def sides(run: Run) -> dict[str, pd.DataFrame]:
    """The prediction rows of each side by its name, in the same order of ids; {} when there are none."""
    try:
        rows = run.predictions()
    except ValueError:
        return {}
    if rows is None or rows.empty:
        return {}
    found = {side: rows[rows["side"] == side].drop_duplicates("id").set_index("id") for side in SIDES}
    shared = found["zero_shot"].index.intersection(found["fine_tuned"].index, sort=False)
    return {side: table.loc[shared].reset_index() for side, table in found.items()} if len(shared) else {}


def tensors(run: Run) -> pd.DataFrame:
    """weights.parquet, or an empty frame."""
    try:
        rows = run.weights()
    except ValueError:
        rows = None
    return pd.DataFrame() if rows is None else rows


def number(value: float | None) -> float:
    """A number of metrics.json; what is undefined there (null) or absent is NaN."""
    return np.nan if value is None else float(value)


def interval(ends: list | None) -> tuple[float, float]:
    """Low and high of metrics.json, NaN where there is none."""
    return (number(ends[0]), number(ends[1])) if ends else (np.nan, np.nan)


def table(records: list[dict], columns: tuple[str, ...]) -> pd.DataFrame:
    """The records as a frame with exactly these columns, None as NaN in columns of numbers."""
    return pd.DataFrame.from_records(records, columns=columns).infer_objects()
