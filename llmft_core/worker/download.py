"""A model comes from the Hub while somebody waits for its answer: how far it is, and an end to it when nobody does."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download

BEAT = 0.25  # seconds between two words
OPENING = 1.0  # seconds in which a file that was asked for at the end is seen to be opened
FILES = {  # all that a model is loaded from; folders hold other formats of the same weights, or demos
    "allow_patterns": ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"],
    "ignore_patterns": ["*/*", "consolidated*"],
}
HALF_WRITTEN = ".incomplete"


class Stopped(Exception):
    """Nobody waits any more; nothing half-written is left."""


def fetch(source: str, should_stop: Callable[[], bool]) -> Iterator[dict]:
    """Bring a model to this machine; "download" events with the bytes that came so far and those in all, at last equal.

    Raises Stopped if asked to stop, and the Hub library's own errors.
    """
    missing = [file for file in snapshot_download(source, dry_run=True, **FILES) if file.will_download]
    total = sum(file.file_size or 0 for file in missing)
    folder = Path(constants.HF_HUB_CACHE, "models--" + source.replace("/", "--"), "blobs")
    begun, coming, over = _bytes(folder), futures.Future(), threading.Event()
    names = [file.filename for file in missing]
    threading.Thread(target=_bring, args=(source, names, coming, over), daemon=True).start()
    try:
        while not coming.done():
            if should_stop():
                raise Stopped
            yield {"event": "download", "model": source, "done": max(0, _bytes(folder) - begun), "total": total}
            futures.wait([coming], timeout=BEAT)
        coming.result()
        yield {"event": "download", "model": source, "done": total, "total": total}
    finally:
        over.set()
        end = time.monotonic() + OPENING
        while not coming.done() and not _take_back() and time.monotonic() < end:
            time.sleep(0.02)


def _bring(source: str, names: list[str], coming: futures.Future, over: threading.Event) -> None:
    """File by file: a snapshot of some files is refused later on by whoever asks for it whole and offline."""
    try:
        for name in names:
            if over.is_set():
                raise Stopped
            hf_hub_download(source, name)
        coming.set_result(None)
    except BaseException as error:
        coming.set_exception(error)


def _bytes(folder: Path) -> int:
    """What the folder holds, files that are being written included."""
    total = 0
    with suppress(OSError):
        for path in os.scandir(folder):
            with suppress(OSError):  # moved to its final name meanwhile
                total += path.stat().st_size
    return total


def _take_back() -> int:
    """Remove the files that this process is writing to, and count them: a download cannot be called back, and is never
    gone on with."""
    found = 0
    with suppress(OSError):
        for link in os.scandir("/proc/self/fd"):
            with suppress(OSError):
                target = os.readlink(link.path)
                if target.endswith(HALF_WRITTEN):
                    os.unlink(target)
                    found += 1
    return found
