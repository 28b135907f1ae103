"""The result of a run: metrics.json and its tables, read with the shape that readers rely on, or called damaged."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from llmft_core import files

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {  # of each table, those that every reader needs
    "predictions.parquet": {"id", "side"},
    "weights.parquet": {"tensor", "parameters", "change_norm", "relative_change"},
}
Scores = dict[str, float | None]  # by metric, 0..1; null where it is undefined
Sides = dict[str, Scores]  # by side: zero_shot, fine_tuned


class Result(BaseModel):
    """metrics.json. Other keys may stand beside these."""

    task: str
    n: int
    zero_shot: Scores
    fine_tuned: Scores
    delta: dict[str, Scores]
    flips: Scores = {}
    intervals: dict[str, dict[str, list[float | None] | None]] = {}
    calibrated: Sides = {}
    baseline: Scores = {}
    ceiling: Scores = {}
    speed: Scores = {}
    seconds: Scores = {}
    parameters: dict[str, int | None] = {}
    leakage: dict[str, object] = {}
    side_proof: dict[str, bool | None] = {}
    truncated: int = 0
    model: str = ""
    method: str = ""
    split: str = ""
    source: str = ""
    seed: int = 0


def metrics(path: Path) -> dict | None:
    """The file, or None before it is written. Raises ValueError if it is damaged."""
    try:
        status = path.stat()
        return dict(_read(path, status.st_size, status.st_mtime_ns))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, getattr(error, "strerror", None) or str(error)) from None


@functools.lru_cache(maxsize=256)
def _read(path: Path, size: int, changed: int) -> dict:
    found = files.read_json(path)
    try:
        Result.model_validate(found)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "the content"
        raise ValueError(f"{place} is missing or not valid") from None
    return found


def table(path: Path) -> "pd.DataFrame | None":
    """The table, or None before it is written. Raises ValueError if it is damaged."""
    import pandas as pd  # half a second that a list of runs does not need

    if not path.exists():
        return None
    try:
        found = pd.read_parquet(path)
    except Exception as error:  # pyarrow has many
        raise _damaged(path, files.last_line(error)) from None
    if missing := COLUMNS[path.name] - set(found.columns):
        raise _damaged(path, f"the column {min(missing)} is missing")
    return found


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path.parent.name}: {path.name} is damaged ({reason}); delete the run and make it again.")
