"""The app as a child, for as long as a block lasts: started on a free port, waited for, and ended with the block."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from llmft_core.jobs.children import PACKAGE_PARENT, end, environment

PATIENCE = 120.0  # seconds until the first page
LOG = ".app.log"


class Server(NamedTuple):
    """Where it listens, its process, and the seconds from its start to its first page."""

    address: str
    pid: int
    seconds: float


@contextmanager
def serve_app(root: Path, **more: str) -> Iterator[Server]:
    """`python app.py` (the `app` command where only the package is installed) with its runs in `root`.

    Raises OSError with the end of its log if it ends before the first page, or has none after two minutes.
    """
    port, front = _free_port(), PACKAGE_PARENT / "app.py"
    command = [str(front)] if front.is_file() else ["-m", "llmft_core", "app"]
    begin = time.monotonic()
    with (root / LOG).open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, *command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, env=environment(root, is_quick=False, **more), start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        while not _answers(address):
            if child.poll() is not None or time.monotonic() - begin > PATIENCE:
                raise OSError(f"The app shows no page: {(root / LOG).read_text(errors='replace')[-300:].strip()}")
            time.sleep(0.02)
        yield Server(address, child.pid, time.monotonic() - begin)
    finally:
        end(child)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as page:
            return page.status == 200 and bool(page.read())
    except OSError:
        return False
