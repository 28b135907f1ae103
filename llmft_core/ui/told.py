"""What an open page was told a moment ago, for the others that look at the same: drawn and written once for all."""

import threading
import time
from collections.abc import Callable

from llmft_core.ui.pace import BEATS

FRESH = 0.25  # of a page's beat: how old what it is told may be; looking once in a beat, it never goes back in time
OLD = FRESH * BEATS[-1]  # seconds, after which nobody is told it any more


class Told(dict):
    """{component: new value}, none of them a gr.State; and what a browser is sent for it, once that is made."""

    sent: list | None = None


class Board:
    """Answers of the last moments, by all that they depend on but the runs themselves."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.lock = clock, threading.Lock()
        self.kept: dict[str, tuple[float, Told]] = {}
        self.wiped = clock()

    def find(self, key: str, beat: float) -> Told | None:
        """What was told of `key`, if that is fresh enough for a page that looks every `beat` seconds."""
        with self.lock:
            began, told = self.kept.get(key, (float("-inf"), None))
            return told if self.clock() - began <= FRESH * beat else None

    def keep(self, key: str, began: float, told: Told) -> None:
        """Put up what was drawn of the runs as they were at `began` (our clock), unless the board was wiped since."""
        with self.lock:
            if began > self.wiped:
                self.kept = {one: kept for one, kept in self.kept.items() if self.clock() - kept[0] <= OLD}
                self.kept[key] = (began, told)

    def wipe(self) -> None:
        """Somebody did something, and must see it from now on."""
        with self.lock:
            self.kept, self.wiped = {}, self.clock()
