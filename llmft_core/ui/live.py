"""How far a run is and how long it still takes, in words and as a share: its events in, text out."""

import time
from typing import NamedTuple

from llmft_core import words
from llmft_core.events import Evaluated, Event, Stage, Started, Step
from llmft_core.run import Run

# Where each stage begins and ends on the bar.
PLAN = {
    "loading": (0.0, 0.05), "zero-shot": (0.05, 0.25), "training": (0.25, 0.8), "fine-tuned": (0.8, 0.97),
    "weights": (0.97, 1.0),
}  # fmt: skip
DOES = {
    "loading": "Loading the model and the data",
    "zero-shot": "Measuring the model as it is",
    "training": "Training",
    "fine-tuned": "Measuring the fine-tuned model",
    "weights": "Comparing the weights",
}
REASONS = {
    "out-of-memory": "out of memory",
    "gated": "no access to the model",
    "network": "no network",
    "disk-full": "disk full",
    "bad-data": "data",
    "bad-config": "settings",
    "damaged": "damaged",
}
SURE = 3  # steps or items until a rate says something


class Progress(NamedTuple):
    """A running run: what it does, share of the whole bar, seconds left (None: not known yet), and facts in words."""

    stage: str
    share: float
    left: float | None
    facts: str

    @property
    def head(self) -> str:
        return f"Running · {words.duration(self.left)} left" if self.left is not None else "Running"


def progress(run: Run, now: float | None = None) -> Progress:
    """What a running run has said so far, in one line."""
    said = _session(run.history())
    now = time.time() if now is None else now
    stage = next((event for event in reversed(said) if isinstance(event, Stage)), Stage("loading"))
    step = next((event for event in reversed(said) if isinstance(event, Step)), None)
    begin, end = PLAN.get(stage.name, (0.0, 1.0))
    if stage.name == "training":
        done, total, before = (step.step, step.steps, step.since) if step else (0, 0, 0)
    else:
        done, total, before = stage.done, stage.total, 0
    share = begin + (end - begin) * (min(1.0, done / total) if total else 0.0)
    return Progress(
        DOES.get(stage.name, stage.name),
        share,
        _left(said, stage.name, done - before, total - before, now),
        _facts(stage, step, done, total),
    )


def _session(history: list[Event]) -> list[Event]:
    """What was said since the run was last started or resumed."""
    starts = [at for at, event in enumerate(history) if isinstance(event, Started)]
    return history[starts[-1] :] if starts else history


def _left(said: list[Event], stage: str, done: int, total: int, now: float) -> float | None:
    """Seconds: the rest of this stage at its own rate, and after training as long as the zero-shot side took.

    `done` is what this session did of the `total` that it found to do.
    """
    begun = next((event.at for event in said if isinstance(event, Stage) and event.name == stage), None)
    if begun is None or total <= 0 or done < min(SURE, total) or stage == "zero-shot":
        return None
    last = next((event.at for event in reversed(said) if isinstance(event, Step | Stage)), now)
    rest = (last - begun) * (total - done) / done - (now - last)
    if stage == "training":
        rest += _zero_shot_seconds(said)
    return max(0.0, rest)


def _zero_shot_seconds(said: list[Event]) -> float:
    begun = next((event.at for event in said if isinstance(event, Stage) and event.name == "zero-shot"), None)
    over = next((event.at for event in said if isinstance(event, Evaluated) and event.final), None)
    return over - begun if begun is not None and over is not None else 0.0


def _facts(stage: Stage, step: Step | None, done: int, total: int) -> str:
    if stage.name == "training" and step:
        speed = f" · {words.count(step.examples_per_second)} examples/s" if step.examples_per_second else ""
        return f" · step {words.count(done)} of {words.count(total)}{speed}"
    return f" · {words.count(done)} of {words.count(total)}" if total and done else ""


def state_words(run: Run) -> str:
    """`◐ running 64 %`, `○ queued, 1 ahead`, `▲ failed: out of memory`: short enough for a row."""
    state = run.state()
    detail = state.detail
    if state.kind == "running":
        detail = words.percent(progress(run).share, digits=0)
    elif state.kind == "queued":
        detail = f"{run.ahead()} ahead" if run.ahead() else "starting"
    elif state.kind == "failed":
        detail = REASONS.get(state.reason, "")
    elif state.kind == "died":
        detail = ""
    return words.state(state.kind, detail)


def left_words(run: Run) -> str:
    """`0:46 left` of a running run, else ""."""
    left = progress(run).left if run.state().kind == "running" else None
    return f"{words.duration(left)} left" if left is not None else ""


def watched(every: list[Run], task: str, model: str, is_of, wanted: str = "") -> Run | None:
    """The run that Train shows: one at work (best of this task and model), else the wanted one, else the newest."""
    own = [run for run in every if not run.shipped and not run.damage]
    mine = [run for run in own if is_of(run, task, model)]
    active = [run for run in own if run.state().is_active]
    at_work = sorted((run for run in active if run in mine), key=lambda run: run.state().kind != "running")
    named = [run for run in mine if run.name == wanted]
    return next(iter([*at_work, *active, *named, *mine]), None)
