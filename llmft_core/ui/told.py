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

    def tell(self, key: str, beat: float, draw: Callable[[], Told | None]) -> Told | None:
        """What was told of `key`, if it is fresh enough for a page that looks every `beat` seconds, or `draw()`.

        Who comes while it is drawn waits for it. None, which says that there is nothing to tell, is not put up.
        """
        with self.lock:
            now = self.clock()
            self.kept = {one: kept for one, kept in self.kept.items() if now - kept[0] <= OLD}
            if key in self.kept and now - self.kept[key][0] <= FRESH * beat:
                return self.kept[key][1]
            told = draw()
            if told is not None:
                self.kept[key] = (now, told)
            return told

    def wipe(self) -> None:
        """Somebody did something or drew what is now: nobody is told from here on what was before."""
        with self.lock:
            self.kept = {}
