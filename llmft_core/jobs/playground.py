"""The process that answers the playground, from the side of those who ask."""

import atexit
import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from llmft_core import checks, files, runs
from llmft_core.jobs.children import end, environment

BETWEEN_LOOKS = 0.5  # seconds, while somebody else is answered


class Silence:
    """How long nothing was heard. A download that does not grow is silence too."""

    def __init__(self, most: float):
        self.most, self.since, self.done = most, time.monotonic(), -1

    def hear(self, event: dict) -> None:
        grown = event.get("event") != "download" or event.get("done") != self.done
        self.done = event.get("done", -1)
        self.since = time.monotonic() if grown else self.since

    @property
    def left(self) -> float:
        return max(0.0, self.since + self.most - time.monotonic())


class Speaker:
    """The process that answers the playground (`worker/speaker.py`): started by the first question, ended when idle.

    One request is answered at a time; others wait. Every `ask` ends: with done, with an error, or by a time limit,
    which does not run while a model that has to be downloaded first comes nearer.
    """

    def __init__(self, silence: float = 300.0, idle: float = 600.0, command: tuple[str, ...] = ()):
        self.silence, self.idle = silence, idle  # seconds without a word until it is given up; without a question
        self.command = command or (sys.executable, "-m", "llmft_core.worker.speaker")
        self._child: subprocess.Popen | None = None
        self._said: queue.Queue[dict | None] = queue.Queue()
        self._turn = threading.Lock()
        self._download: dict | None = None  # what was last said of one that is under way
        self._last_id = 0
        self._timer: threading.Timer | None = None
        atexit.register(self.close)

    def ask(self, request: dict) -> Iterator[dict]:
        """Send the request, yield its events up to "done" or "error". Closing the iterator cancels the request.

        A model that cannot be had (gated, no network) is an error at once. One that has to be downloaded is told of by
        "download" events, several a second, with model, done and total in bytes; cancelling ends the download.
        """
        try:
            checks.model(_base(request))
        except ValueError as error:
            yield {"event": "error", "message": str(error)}
            return
        if not (yield from self._wait_for_turn()):
            yield {"event": "error", "message": "The model is busy with another question: try again in a moment."}
            return
        try:
            self._last_id += 1
            yield from self._answers({**request, "id": self._last_id})
        finally:
            if self._download:  # the reader went away: nobody needs the rest, and only the end of a process stops it
                threading.Thread(target=self._end_download, daemon=True).start()
            else:
                self._set_timer(self.idle)
                self._turn.release()

    def _end_download(self) -> None:
        """Takes a moment, for which no page has to stand still; whoever asks meanwhile waits for the turn."""
        self._end()
        self._turn.release()

    def _wait_for_turn(self) -> Iterator[dict]:
        """Whether it became our turn in time. What is downloaded for those before us is told to us too."""
        silence = Silence(self.silence)
        while not self._turn.acquire(timeout=min(BETWEEN_LOOKS, silence.left)):
            if download := self._download:
                silence.hear(download)
                yield download
            if not silence.left:
                return False
        return True

    def _answers(self, request: dict) -> Iterator[dict]:
        over = False
        try:
            if self._child is None or self._child.poll() is not None:
                self._end()
                self._start()
            self._write(request)
            silence = Silence(self.silence)
            while not over:
                event = self._next(request["id"], silence)
                over = event.get("event") in ("done", "error")
                self._download = event if event.get("event") == "download" else None
                yield event
        except (OSError, queue.Empty) as error:
            over = True
            message = self._why(error)
            self._end()
            yield {"id": request["id"], "event": "error", "message": message}
        finally:
            if not over and not self._download:  # the reader went away
                self._last_id += 1
                self._cancel(request["id"])

    def _next(self, number: int, silence: Silence) -> dict:
        """The next event of this request; what an earlier, cancelled one still says is passed over."""
        while True:
            event = self._said.get(timeout=silence.left)
            if event is None:
                raise OSError("killed, perhaps for lack of memory")
            if event.get("id") == number:
                silence.hear(event)
                return event

    def _why(self, error: Exception) -> str:
        if isinstance(error, queue.Empty) and self._download:
            return (
                f"The download of {self._download.get('model')} has stood still for {self.silence:.0f} seconds: check "
                "the connection and ask again; the files that are whole are kept."
            )
        is_silent = isinstance(error, queue.Empty)
        why = f"said nothing for {self.silence:.0f} seconds" if is_silent else f"ended ({files.last_line(error)})"
        return f"The model's process {why}; ask again to start it anew. Its log is {self.log}."

    @property
    def log(self) -> Path:
        return runs.root() / ".speaker.log"

    def _write(self, request: dict) -> None:
        self._child.stdin.write(files.to_json(request) + "\n")
        self._child.stdin.flush()

    def _cancel(self, target: int) -> None:
        with contextlib.suppress(OSError):
            self._write({"id": self._last_id, "do": "cancel", "target": target})

    def _start(self) -> None:
        runs.root().mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, encoding="utf-8", errors="replace", env=environment(runs.root()), start_new_session=True,
            )  # fmt: skip
        self._said = queue.Queue()
        threading.Thread(target=_listen, args=(self._child.stdout, self._said), daemon=True).start()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        if seconds is not None:
            self._timer = threading.Timer(seconds, self._end_if_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_if_idle(self) -> None:
        if self._turn.acquire(blocking=False):
            self._end()
            self._turn.release()

    def _end(self) -> None:
        """Ask it to end, then end it. One that downloads is given time to take back what is half-written."""
        patience = 0.5
        if self._child is not None and self._download:
            self._cancel(self._download.get("id"))
            patience = 3.0
        child, self._child, self._download = self._child, None, None
        if child is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()  # it ends when nobody can ask any more
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)
            end(child)

    def close(self) -> None:
        """End the process; the next `ask` starts another."""
        self._set_timer(None)
        self._end()


def _base(request: dict) -> str:
    """The model that the request is about. Raises ValueError for a run that is not there or cannot be read."""
    if not request.get("run"):
        return request.get("model") or "mini"
    run = runs.find(request["run"])
    if run.damage:
        raise ValueError(f"{run.name} is damaged: {run.damage}.")
    return run.config.model


def _listen(stream, said: queue.Queue) -> None:
    for line in stream:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                said.put(event)
    said.put(None)
