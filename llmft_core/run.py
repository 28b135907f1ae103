"""One run folder: what lies in it and what state it is in. Reading never creates or changes a file."""

import functools
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from llmft_core import events, files, result, words
from llmft_core.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

START_SECONDS = 30.0  # a new run whose worker has not taken the lock by then never began
METHODS = {"lora": "LoRA", "full": "Full"}


class Cancelled(Exception):
    """Raised by a recipe that stops because it was asked to; `step` is the last optimizer step that it took."""

    def __init__(self, step: int | None = None):
        super().__init__(f"cancelled at step {step}")
        self.step = step


class State(NamedTuple):
    """What a run is doing. `kind` is one of queued, running, finished, failed, cancelled, died; `detail` is for people.

    `reason` is that of the Failed event, or "damaged" for a folder that cannot be read.
    """

    kind: str
    detail: str = ""
    reason: str = ""

    @property
    def is_active(self) -> bool:
        return self.kind in ("queued", "running")


@dataclass(frozen=True)
class Run:
    """One run folder. Its state is worked out from what it said and from the lock, never stored."""

    path: Path
    shipped: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def model_dir(self) -> Path:
        return self.path / "model"

    @property
    def can_answer(self) -> bool:
        """Whether its fine-tuned weights are here; a full fine-tune ships without them."""
        return any(self.adapter.glob("*.safetensors")) or any(self.model_dir.glob("*.safetensors"))

    @functools.cached_property
    def _config(self) -> tuple[RunConfig, str]:
        try:
            return RunConfig.model_validate(files.read_json(self.path / "config.json")), ""
        except FileNotFoundError:
            damage = "config.json is missing"
        except ValidationError as error:
            damage = f"config.json: {'.'.join(map(str, error.errors()[0]['loc'])) or 'the content'} is not valid"
        except (OSError, ValueError) as error:
            damage = f"config.json: {error}"
        return RunConfig(model="?", task="?"), damage

    @property
    def config(self) -> RunConfig:
        """The settings; those of a damaged run are placeholders (`damage` says so)."""
        return self._config[0]

    @property
    def damage(self) -> str:
        """Why the folder cannot be read as a run, or ""."""
        return self._config[1]

    def history(self) -> list[events.Event]:
        """Everything that the run has said so far, oldest first."""
        path = self.path / "events.jsonl"
        try:
            status = path.stat()
            return list(_history(path, status.st_size, status.st_mtime_ns))
        except OSError:
            return []

    def is_held(self) -> bool:
        """Whether a worker holds the lock, that is, lives (a killed process holds none, zombie or not)."""
        return files.is_locked(self.path / "lock")

    def state(self) -> State:
        if self.damage:
            return State("failed", f"damaged: {self.damage}", "damaged")
        held, history = self.is_held(), self.history()  # in this order: the last word is said with the lock held
        last = next((event for event in reversed(history) if isinstance(event, _TURNS)), None)
        if held and self._waits():
            return State("queued", f"{ahead} ahead" if (ahead := self.ahead()) else "")
        if last is not None and not isinstance(last, events.Started):
            return _ended(self, last)
        if held:
            return State("running", _doing(history))
        if last is None and self._is_new():
            return State("queued")
        if (self.path / "stop").exists():
            return State("cancelled", _at_step(_last_step(history)))
        if last is None:
            return State("died", "It never began: resume or delete it.")
        return State("died", "The process ended without a word (killed, out of memory, or a restart): resume it.")

    def _waits(self) -> bool:
        """Whether nothing was said since the lock was taken: the worker waits for its turn."""
        return _changed(self.path / "lock") > _changed(self.path / "events.jsonl")

    def _is_new(self) -> bool:
        """A worker needs a moment to take the lock, and leaves the lock file behind when it dies."""
        return not (self.path / "lock").exists() and time.time() - self.created() < START_SECONDS

    def ahead(self) -> int:
        """How many runs of the same folder must end before this waiting one begins."""
        others = (Run(path) for path in self.path.parent.glob("[!.]*/") if path != self.path)
        return sum(other.is_held() and other._precedes(self) for other in others)

    def _precedes(self, other: "Run") -> bool:
        return not self._waits() or (self.queued_at(), self.name) < (other.queued_at(), other.name)

    def queued_at(self) -> float:
        """Its place in the queue: when its worker took the lock (when it was made, if no worker has)."""
        return _changed(self.path / "lock") or self.created()

    def created(self) -> float:
        """Seconds since 1970: when it first said something; files copied or cloned have times of their own."""
        first = events.first(self.path / "events.jsonl")
        return first.at if first else _changed(self.path / "config.json")

    def seconds(self) -> float:
        """Working time: the sum over the sessions of a resumed run, until now while it runs."""
        total, begin, last = 0.0, None, None
        for event in self.history():
            if isinstance(event, events.Started) and (begin is None or event.pid != begin.pid):
                total += last.at - begin.at if begin else 0.0
                begin = event
            last = event
        if begin is None:
            return 0.0
        return total + (time.time() if self.state().kind == "running" else last.at) - begin.at

    def metrics(self) -> dict | None:
        """metrics.json, or None before it is written. Raises ValueError if it is damaged."""
        return result.metrics(self.path / "metrics.json")

    def source(self) -> str:
        """Where the rows behind its figures came from: hub, data-dir, data-file or samples; "" before it has any."""
        try:
            return str((self.metrics() or {}).get("source") or "")
        except ValueError:
            return ""

    def predictions(self) -> "pd.DataFrame":
        """One row per example and side. Raises ValueError if there are none or the file is damaged."""
        table = result.table(self.path / "predictions.parquet")
        if table is None:
            raise ValueError(f"{self.name} has no predictions: {words.why_none(self.name, *self.state())}.")
        return table

    def weights(self) -> "pd.DataFrame | None":
        """One row per tensor, or None before it is written. Raises ValueError if the file is damaged."""
        return result.table(self.path / "weights.parquet")

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the worker printed."""
        try:
            with (self.path / "log.txt").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return files.hide_token("\n".join(text.splitlines()[-lines:]))

    def title(self) -> str:
        """What people read in a list: "LoRA, official, shipped"; once measured, also that its rows are our samples."""
        if self.damage:
            return f"{self.name} (damaged)"
        config = self.config.resolved()
        when = "shipped" if self.shipped else time.strftime("%d %b %H:%M", time.localtime(self.created()))
        rows = config.split
        if self.source() == "samples":
            rows = "our samples" if rows == "official" else f"{rows} of our samples"
        return f"{METHODS.get(config.method, config.method)}, {rows}, {when}"

    def headline(self) -> dict | None:
        """{"metric", "zero_shot", "fine_tuned", "low", "high", "p"} of the task's headline; low to p: its change."""
        from llmft_core import tasks  # pulls pandas in

        try:
            found = self.metrics() or {}
            metric = tasks.find(self.config.task).headline
            change = found.get("delta", {}).get(metric, {})
            sides = {side: found[side][metric] for side in ("zero_shot", "fine_tuned")}
        except (ValueError, KeyError, AttributeError, TypeError):
            return None
        return {"metric": metric, **sides, **{key: change.get(key) for key in ("low", "high", "p")}}

    def summary(self) -> dict:
        """One row of `runs --json`."""
        state, config = self.state(), self.config.resolved()
        settings = {key: getattr(config, key) for key in ("task", "model", "method", "split", "preset", "seed")}
        told = {"state": state.kind, "detail": state.detail, "reason": state.reason or None, "shipped": self.shipped}
        times = {"seconds": round(self.seconds(), 1), "created": self.created()}
        return {
            "name": self.name,
            "title": self.title(),
            **settings,
            **told,
            "headline": self.headline(),
            "source": self.source() or None,
            **times,
        }


_TURNS = (events.Started, events.Finished, events.Failed, events.Cancelled)


def _ended(run: Run, last: events.Event) -> State:
    if isinstance(last, events.Failed):
        return State("failed", last.message, last.reason)
    if isinstance(last, events.Cancelled):
        return State("cancelled", _at_step(last.step))
    try:
        run.metrics()
    except ValueError:
        return State("failed", "damaged: metrics.json cannot be read", "damaged")
    return State("finished")


def _last_step(history: list[events.Event]) -> int:
    return next((event.step for event in reversed(history) if isinstance(event, events.Step)), 0)


def _at_step(step: int) -> str:
    return f"at step {step:,}" if step else "before the first step"


def _doing(history: list[events.Event]) -> str:
    for event in reversed(history):
        if isinstance(event, events.Step) and event.steps:
            return f"{100 * event.step / event.steps:.0f} %"
        if isinstance(event, events.Stage):
            return f"{event.name}, {100 * event.done / event.total:.0f} %" if event.total else event.name
        if isinstance(event, events.Started):
            break
    return "starting"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@functools.lru_cache(maxsize=256)
def _history(path: Path, size: int, changed: int) -> tuple[events.Event, ...]:
    return tuple(events.read(path))
