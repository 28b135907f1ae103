"""Processes: start a run, queue it, stop it, resume it, ask a child for one answer. The only room that starts one.

A run is worked off by a detached child, `python -m llmft_core.worker FOLDER`, which outlives whoever started it. What
it does is read from its folder; nothing here is remembered.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from llmft_core import files, runs, words
from llmft_core.events import Started
from llmft_core.jobs.children import end, environment
from llmft_core.jobs.playground import Speaker
from llmft_core.runs import Run, State

__all__ = [
    "CallFailed", "Speaker", "ask_to_stop", "call", "end", "environment", "resume", "start", "stop",
    "stop_in_background", "timed", "wait",
]  # fmt: skip

START_SECONDS = 15.0  # for a child to take its lock
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
GRACE = 20.0  # from the stop file to SIGTERM: an optimizer step of a large model
HARD_GRACE = 10.0  # from SIGTERM to SIGKILL


class CallFailed(RuntimeError):
    """A child ended with an error that is nobody's input; the message is one sentence."""


def start(run: Run) -> None:
    """Start the worker of a new run, which waits until no other trains. Raises ValueError if at work or finished."""
    _launch(run, resume=False, refuse=("running", "finished"))


def resume(run: Run) -> None:
    """Start a run again from its last checkpoint. Raises ValueError if it ships, is damaged, at work or finished."""
    _launch(run, resume=True, refuse=("queued", "running", "finished"))


def _launch(run: Run, resume: bool, refuse: tuple[str, ...]) -> None:
    state = run.state()
    if run.shipped:
        raise ValueError(f"{run.name} ships with llmft and cannot be started: make one of your own with fine-tune.")
    if run.damage:
        raise ValueError(f"{run.name} is damaged ({run.damage}) and cannot be started: delete it and make it again.")
    if run.is_held() or state.kind in refuse:
        raise ValueError(f"{run.name} is {state.kind}: it cannot be started again.")
    try:
        (run.path / "stop").unlink(missing_ok=True)
        with (run.path / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "llmft_core.worker", str(run.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env=environment(run.path.parent, LLMFT_RESUME="1" if resume else ""),
            )  # fmt: skip
    except OSError as error:
        raise ValueError(files.sentence(error)) from None
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and not run.is_held() and time.monotonic() < deadline:
        time.sleep(0.02)
    if child.poll() is not None and not (run.path / "lock").exists():
        raise CallFailed(f"The worker of {run.name} did not start: {run.log_tail(1) or 'it says nothing'}")
    threading.Thread(target=child.wait, daemon=True).start()  # so that it does not stay a zombie of ours


def wait(run: Run, timeout: float | None = None) -> State:
    """Wait until the run is neither queued nor running, or `timeout` seconds are over; what it is then."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while (state := run.state()).is_active or run.is_held():
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return state


def ask_to_stop(run: Run) -> None:
    """Leave the `stop` file and return at once. Raises ValueError if the run is not at work."""
    state = run.state()
    if run.shipped or not state.is_active:
        raise ValueError(f"{run.name} is {words.plain(state.kind)}: there is nothing to stop.")
    try:
        (run.path / "stop").touch()
    except OSError as error:
        raise ValueError(files.sentence(error)) from None


def stop(run: Run, grace: float = GRACE, hard_grace: float = HARD_GRACE) -> State:
    """Stop in stages: `stop` file, after `grace` seconds SIGTERM, after `hard_grace` more SIGKILL; its last state.

    Asked nicely, a worker keeps the last adapter and says Cancelled. Raises ValueError if the run is not at work.
    """
    ask_to_stop(run)
    for seconds, number in ((grace, signal.SIGTERM), (hard_grace, signal.SIGKILL)):
        if not wait(run, seconds).is_active and not run.is_held():
            break
        _signal(run, number)
    return wait(run, 5.0)


def stop_in_background(run: Run) -> None:
    """The same without waiting: the request is made now, the deadlines are kept by a thread."""
    ask_to_stop(run)

    def keep_deadlines() -> None:
        with contextlib.suppress(ValueError):  # it stopped meanwhile
            stop(run)

    threading.Thread(target=keep_deadlines, daemon=True).start()


def _signal(run: Run, number: int) -> None:
    """To the worker of this run (SIGKILL: and its own children), if it is certain that it is ours and lives."""
    pid = next((event.pid for event in reversed(run.history()) if isinstance(event, Started)), 0)
    if pid and run.is_held() and _is_worker(pid, run):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            is_leader = os.getpgid(pid) == pid
            (os.killpg if is_leader and number == signal.SIGKILL else os.kill)(pid, number)


def _is_worker(pid: int, run: Run) -> bool:
    """Not another process that has the number by now, here or on a machine that shares the folder."""
    with contextlib.suppress(OSError):
        return os.fsencode(str(run.path)) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return not Path("/proc/self/cmdline").exists()


def call(what: str, request: dict) -> dict:
    """Have one job of `worker/calls.py` done by a child and return its answer; its progress goes to our stderr.

    Raises ValueError with the child's sentence if the input was at fault, CallFailed if anything else was.
    """
    return timed(what, request)[0]


def timed(what: str, request: dict, is_quick: bool = True) -> tuple[dict, float, int]:
    """The same, with what the child took: seconds from start to end, and its peak resident memory in bytes.

    Without `is_quick` it has none of the settings with which our own work goes faster (`children.QUICK`).
    """
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "llmft_core.worker.calls", what],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env=environment(runs.root(), is_quick),
    )  # fmt: skip
    try:
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(files.to_json(request))
        answers = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:  # Ctrl-C, mostly
        end(child)
        raise
    return _answer(what, answers, child.returncode), time.monotonic() - start, usage.ru_maxrss * _RSS_UNIT


def _answer(what: str, answers: str, code: int) -> dict:
    try:
        answer = json.loads(answers.strip().splitlines()[-1])
    except (IndexError, ValueError):
        why = "it was killed, perhaps for lack of memory" if code < 0 else f"exit code {code}"
        raise CallFailed(f"The process for '{what}' ended without an answer: {why}.") from None
    if "result" in answer:
        return answer["result"]
    if answer["reason"] in ("out-of-memory", "other"):
        raise CallFailed(answer["message"])
    raise ValueError(answer["message"])
