"""The envelope of a run: `python -m llmft_core.worker FOLDER` takes its turn, runs the recipe and says how it ended."""

import contextlib
import faulthandler
import importlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from filelock import FileLock, Timeout

from llmft_core import events, files
from llmft_core.runs import Cancelled, Run
from llmft_core.worker.reasons import explain

BETWEEN_LOOKS = 0.25  # seconds, while waiting in the queue
RESERVE = 32_768  # bytes given up when the disk is full, so that the last word can be written
OK, ERROR, REFUSED = 0, 1, 3


class Wish:
    """Whether somebody asked to stop: by the `stop` file or a signal. A signal after that does not ask again."""

    def __init__(self, run: Run):
        self.file, self.signalled = run.path / "stop", False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        return self.signalled or self.file.exists()

    def is_over(self) -> None:
        """The last word is being written: no signal may cut it off."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: object) -> None:
        if self():
            raise Cancelled()  # in the middle of whatever the main thread does
        self.signalled = True


class Voice:
    """Appends to events.jsonl, and can still do so once when the disk is full."""

    def __init__(self, run: Run):
        self.path, self.reserve = run.path / "events.jsonl", run.path / ".reserve"
        self.mend()
        with contextlib.suppress(OSError):
            self.reserve.write_bytes(os.urandom(RESERVE))

    def mend(self) -> None:
        """A line that a killed session left half-written must not swallow our first one."""
        with contextlib.suppress(OSError), self.path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)  # an empty file raises OSError: nothing to mend
            if file.read(1) != b"\n":
                file.write(b"\n")

    def say(self, event: events.Event) -> None:
        events.append(self.path, event)

    def say_last(self, event: events.Event) -> None:
        self.reserve.unlink(missing_ok=True)
        try:
            self.mend()
            self.say(event)
        except OSError as error:
            print(f"Could not write the last word {event}: {error}", file=sys.stderr)


def main(folder: str) -> int:
    """Work the run off. Exit code: 0 if it finished or was cancelled, 1 if it failed, 3 if another process has it."""
    run = Run(Path(folder).resolve())
    lock = FileLock(run.path / "lock")
    try:
        lock.acquire(timeout=2, poll_interval=0.05)  # held until this process ends, whatever ends it
        os.utime(run.path / "lock")  # its place in the queue
    except Timeout:
        print(f"{run.name} is at work in another process.", file=sys.stderr)
        return REFUSED
    should_stop = Wish(run)
    try:
        queue = wait_for_turn(run, should_stop)
    except Cancelled:
        Voice(run).say_last(events.Cancelled(_last_step(run)))
        return OK
    with queue:
        return work(run, should_stop)


def wait_for_turn(run: Run, should_stop: Wish) -> FileLock:
    """The queue's lock, when nobody trains and nobody came before. Raises Cancelled if asked to stop while waiting."""
    queue = FileLock(run.path.parent / ".queue.lock")
    while True:
        if should_stop():
            raise Cancelled()
        with contextlib.suppress(Timeout):
            queue.acquire(timeout=0)
            if not run.ahead():
                return queue
            queue.release()
        time.sleep(BETWEEN_LOOKS)


def work(run: Run, should_stop: Wish) -> int:
    """Started, the recipe, and Finished, Cancelled or Failed."""
    voice = Voice(run)
    try:
        voice.say(events.Started(os.getpid()))
        if run.damage:
            raise ValueError(f"{run.name} is damaged: {run.damage}.")
        # Imported here so that a broken torch is a failed run with a sentence, and not a run that waits for ever.
        recipe = importlib.import_module(os.environ.get("LLMFT_RECIPE") or "llmft_core.worker.recipe")
        if should_stop():
            raise Cancelled()
        recipe.run(run, voice.say, should_stop, os.environ.get("LLMFT_RESUME") == "1")
        last, code = events.Finished(round(run.seconds(), 3)), OK
    except (Cancelled, KeyboardInterrupt) as stopped:
        last, code = events.Cancelled(getattr(stopped, "step", None) or _last_step(run)), OK
    except BaseException as error:  # SystemExit too: a run that ends must say so
        print(files.hide_token("".join(traceback.format_exception(error))), file=sys.stderr)
        last, code = events.Failed(*explain(error, run.config.model)), ERROR
    should_stop.is_over()
    voice.say_last(last)
    return code


def _last_step(run: Run) -> int:
    return next((event.step for event in reversed(run.history()) if isinstance(event, events.Step)), 0)


if __name__ == "__main__":
    faulthandler.enable()
    if len(sys.argv) != 2:
        sys.exit("usage: python -m llmft_core.worker FOLDER")
    code = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # it said its last word: no thread of a library may keep the locks
