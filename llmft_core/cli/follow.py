"""Watch a run from the terminal: what it does now, how long it still takes, and how it ended."""

import signal
import sys
import time

from llmft_core import events, jobs, words
from llmft_core.cli.printing import note
from llmft_core.run import Run, State

LOOK = 0.2  # seconds
SELDOM = 10.0  # seconds between progress lines where they cannot be overwritten
FINISHED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
NOBODY_S_FAULT = ("out-of-memory", "other", "damaged")  # of the input; any other reason to fail is bad input


def to_the_end(run: Run, seen: int = 0) -> int:
    """Print what the run says after its first `seen` words until it ends; Ctrl-C stops it. The exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a script that started us with "&"
    try:
        state = _watch(run, seen)
    except KeyboardInterrupt:
        state = _stop(run)
    return _conclude(run, state)


def _watch(run: Run, seen: int) -> State:
    lines, queued = Lines(), None
    while True:
        state = run.state()  # before the words are read, so that none is missed
        is_over = not state.is_active and not run.is_held()
        if state.kind == "queued" and state.detail != queued:
            queued = state.detail
            if queued:
                note(f"Queued, {queued}.")
        history = run.history()
        for event in history[seen:]:
            lines.show(event)
        seen = len(history)
        if is_over:
            lines.close()
            return run.state()
        time.sleep(LOOK)


class Lines:
    """Events as lines; on a terminal, progress overwrites itself."""

    def __init__(self):
        self.is_terminal = sys.stderr.isatty()
        self.last, self.is_open = 0.0, False
        self.first_step: events.Step | None = None
        self.stage = ""

    def show(self, event: events.Event) -> None:
        match event:
            case events.Started():
                self.first_step = None  # what an earlier session did says nothing about the time that is left
            case events.Stage(name=name, done=done, total=total) if name == self.stage and done:
                self.progress(f"  {done:,} of {total:,}" if total else f"  {done:,}", done == total)
            case events.Stage(name=name, total=total):
                self.stage = name
                self.line(f"{name[:1].upper()}{name[1:]}{f', {total:,} examples' if total else ''}")
            case events.Note(text=text):
                self.line(text)
            case events.Step():
                self.progress(self._step(event), event.step >= event.steps)
            case events.Evaluated():
                self.line(_scores(event))

    def _step(self, event: events.Step) -> str:
        if self.first_step is None and event.since:
            self.line(f"Going on after step {event.since:,}")
        self.first_step = first = self.first_step or event
        text = f"  step {event.step:,} of {event.steps:,}, {_loss(event.loss)}"
        if event.examples_per_second:
            text += f", {event.examples_per_second:.0f} examples/s"
        if event.step > first.step:
            left = (event.at - first.at) / (event.step - first.step) * (event.steps - event.step)
            text += f", {words.duration(left)} left"
        return text

    def progress(self, text: str, is_last: bool) -> None:
        if self.is_terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self.is_open = True
        elif is_last or time.monotonic() - self.last > SELDOM:
            self.last = time.monotonic()
            note(text)

    def line(self, text: str) -> None:
        self.close()
        note(text)

    def close(self) -> None:
        if self.is_open:
            print(file=sys.stderr)
        self.is_open = False


def _loss(value: float) -> str:
    return "the loss is no longer a number" if words.is_missing(value) else f"loss {value:.3f}"


def _scores(event: events.Evaluated) -> str:
    name = words.headline({"fine_tuned": event.metrics})
    value = f"{words.metric(name).phrase} {words.percent(event.metrics.get(name)) or 'undefined'}"
    side = event.side.replace("_", "-")
    if event.final:
        return f"{side[:1].upper()}{side[1:]}: {value}, n = {event.n:,}"
    return f"  probe at step {event.step:,}: {value} of {event.n:,} held-out training examples"


def _stop(run: Run) -> State:
    note(f"\nStopping {run.name}; Ctrl-C again ends it at once.")
    try:
        return jobs.stop(run)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return jobs.stop(run, 0.0, 1.0)
    except ValueError:  # it ended by itself meanwhile
        return jobs.wait(run, 5.0)


def _conclude(run: Run, state: State) -> int:
    if state.kind == "finished":
        _tell_result(run)
        return FINISHED
    if state.kind == "failed":
        note(f"{run.name} failed: {state.detail}")
        note(f"Its log is {run.path / 'log.txt'}.")
        return FAILED if state.reason in NOBODY_S_FAULT else BAD_INPUT
    kept = " The adapter so far is kept." if any(run.adapter.glob("*.safetensors")) else ""
    again = f" Go on with: python -m llmft_core runs resume {run.name}"
    if state.kind == "cancelled":
        note(f"{run.name} is cancelled {state.detail}.{kept}{again}")
        return INTERRUPTED
    note(f"{run.name} was {words.plain(state.kind)}: {state.detail}{kept}{again}")
    return FAILED


def _tell_result(run: Run) -> None:
    found = run.metrics()
    if found:
        print(words.verdict(found).text)
    if (found or {}).get("source") == "samples":
        note("These are our own few sample rows, not the data set: give --data-dir, or connect to the Hub.")
    print(f"{run.name} took {words.duration(run.seconds())}.")
    print(f"Read it with: python -m llmft_core compare {run.name}   or see it with: python -m llmft_core app")
