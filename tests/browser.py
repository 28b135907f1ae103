"""A real `python app.py` and a real Chromium for browser tests: no other host is asked, the console stays clean."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import PATIENCE
from playwright.sync_api import Browser, Page, sync_playwright

HOUSE = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HARMLESS = ("favicon",)
# Asked ten times a second: true when nothing has changed for three looks.
SETTLED = """() => {
  const page = document.documentElement, plots = [...document.querySelectorAll('.js-plotly-plot')];
  const now = [page.scrollWidth, page.scrollHeight, location.search, plots.length].join();
  const is_drawn = plots.every(plot => plot.querySelector('.main-svg'));
  window.looks = is_drawn && window.seen === now ? (window.looks || 0) + 1 : 0;
  window.seen = now;
  return window.looks >= 3;
}"""


@contextmanager
def served(runs_dir: Path, **environment: str) -> Iterator[str]:
    """The address of an app of our own with its own runs folder; it ends with the block."""
    port = _free_port()
    log = runs_dir.parent / f"app-{port}.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)], cwd=HOUSE, stdout=out, stderr=subprocess.STDOUT,
            env=os.environ | {"LLMFT_RUNS_DIR": str(runs_dir), "OMP_WAIT_POLICY": "PASSIVE"} | environment,
        )  # fmt: skip
    try:
        _wait_for(f"http://127.0.0.1:{port}/", child, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        code = child.wait(20)
    assert code == 0, "who is ended by SIGTERM closes its server, as at Ctrl-C"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(address: str, child: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            pytest.fail(f"app.py ended with {child.returncode}: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"app.py did not answer within {PATIENCE:.0f} s: {log.read_text()[-2000:]}")


class Watched:
    """A page whose requests and console are watched; `check()` says what went wrong."""

    def __init__(self, page: Page, address: str):
        self.page, self.address = page, address
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(60_000)
        page.on("request", self._request)
        self.is_leaving = False  # what the old page says while it is being left is not an error of the app
        page.on("console", lambda said: said.type == "error" and self._failed(said.text))
        page.on("pageerror", lambda error: self._failed(str(error)))

    def _request(self, request) -> None:
        url = request.url
        if not url.startswith((self.address, "data:", "blob:", "about:")):
            self.elsewhere.append(url)

    def _failed(self, text: str) -> None:
        if not self.is_leaving:
            self.errors.append(text)

    def open(self, query: str = "", wait_for: str = "#verdict p") -> Page:
        """Load the page with this query and wait until it is there."""
        with self._leaving():
            self.page.goto(f"{self.address}/?{query}")
        self.page.wait_for_selector(wait_for)
        self.page.wait_for_function("document.querySelector('#open-tab textarea')?.value")  # the page has arrived
        return self.page

    def reload(self) -> None:
        """Load the same page again. Gradio's front end aborts an open stream when its page is left, and says so."""
        with self._leaving():
            self.page.reload()

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        self.is_leaving = True
        yield
        self.is_leaving = False

    def tab(self, name: str, wait_for: str) -> None:
        self.page.click(f"#tab-{name}-button")
        self.page.wait_for_selector(wait_for)

    def settle(self) -> None:
        """Wait until every chart is drawn and the size of the page stays what it is."""
        self.page.wait_for_function(SETTLED, polling=100)

    def check(self) -> None:
        assert not self.elsewhere, f"asked another host: {self.elsewhere}"
        real = [said for said in self.errors if not any(word in said for word in HARMLESS)]
        assert not real, f"errors in the page: {real}"


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser for many pages."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"NO BROWSER: {CHROMIUM} is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def browsing(browser: Browser, address: str, width: int = 1280, height: int = 900) -> Iterator[Watched]:
    """A page of this width that knows nothing of others; leaving the block checks requests and console."""
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        watched = Watched(context.new_page(), address)
        yield watched
        watched.check()
