"""What a run says while it works: small typed records, appended to events.jsonl, one JSON object a line.

    {"kind": "started", "at": 1764000000.0, "pid": 4242, "device": "cpu"}
    {"kind": "evaluated", "at": …, "side": "zero_shot", "step": 0, "metrics": {"accuracy": 0.509}, "final": true}
    {"kind": "step", "at": …, "step": 5, "steps": 120, "loss": 0.61, "learning_rate": 0.001, "examples": 160, …}

A reader stops at the last newline and skips kinds that it does not know. A number that is none (the loss of a training
that went astray) is null in the file and NaN in the event.
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, TypeAdapter

from llmft_core import files

LATEST = 1e11  # seconds: a clock can be wrong, but must not be past what a calendar holds


@dataclass(frozen=True)
class Event:
    """Anything that a run says; `at` is in seconds since 1970."""

    kind: ClassVar[str]
    at: Annotated[float, Field(ge=0, le=LATEST)] = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class Started(Event):
    """The worker holds the lock and begins; said again when a run is resumed."""

    kind = "started"
    pid: int
    device: str = ""


@dataclass(frozen=True)
class Stage(Event):
    """What the worker is doing now. `name` is one of: loading, zero-shot, training, fine-tuned, weights."""

    kind = "stage"
    name: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Note(Event):
    """A sentence that people should read."""

    kind = "note"
    text: str


@dataclass(frozen=True)
class Step(Event):
    """One logged optimizer step; `loss` is the mean since the last one, `examples` those seen so far.

    `since` is the step after which this session went on: 0 unless the run was resumed.
    """

    kind = "step"
    step: int
    steps: int
    loss: float
    learning_rate: float
    examples: int = 0
    examples_per_second: float = 0.0
    since: int = 0


@dataclass(frozen=True)
class Evaluated(Event):
    """Metrics (0..1) of one side on `n` examples; `final` says that they are the run's result and not a probe."""

    kind = "evaluated"
    side: str
    step: int
    n: int
    metrics: dict[str, float | None]
    final: bool = False


@dataclass(frozen=True)
class Finished(Event):
    """Everything is written."""

    kind = "finished"
    seconds: float


@dataclass(frozen=True)
class Failed(Event):
    """It ended with an error; `reason`: out-of-memory, gated, network, disk-full, bad-data, bad-config or other."""

    kind = "failed"
    reason: str
    message: str


@dataclass(frozen=True)
class Cancelled(Event):
    """Somebody asked it to stop; the last adapter is kept."""

    kind = "cancelled"
    step: int


KINDS: dict[str, type[Event]] = {
    c.kind: c for c in (Started, Stage, Note, Step, Evaluated, Finished, Failed, Cancelled)
}
READERS = {kind: TypeAdapter(event) for kind, event in KINDS.items()}
LONGEST_FIRST = 65_536  # bytes; a run begins with a short word


def append(path: Path, event: Event) -> None:
    """Add one line; a single write, so that a reader never sees half of two."""
    line = files.to_json({"kind": event.kind, **asdict(event)})
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(path: Path) -> list[Event]:
    """All whole lines so far, oldest first; an absent file has none, a damaged line is skipped."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = (_parse(line) for line in text[: text.rfind("\n") + 1].split("\n"))
    return [event for event in found if event is not None]


def first(path: Path) -> Event | None:
    """The first line, if it is whole and sound; cheap enough to ask of every run."""
    try:
        with path.open("rb") as file:
            line = file.readline(LONGEST_FIRST)
    except OSError:
        return None
    return _parse(line.decode("utf-8", errors="replace")) if line.endswith(b"\n") else None


def _parse(line: str) -> Event | None:
    try:
        record = json.loads(line)
        reader = READERS[record.pop("kind")]
        return reader.validate_python({key: math.nan if value is None else value for key, value in record.items()})
    except (ValueError, KeyError, TypeError, AttributeError):  # pydantic's is a ValueError
        return None
