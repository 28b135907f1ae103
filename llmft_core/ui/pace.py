"""How often an open page looks at a running run: each second, and more seldom the more pages look.

Each look is work of the server, on the cores that the run computes on.
"""

import threading
import time
from collections.abc import Callable

LOOKS = 2  # per second, of up to 40 pages together
BEATS = (1.0, 2.0, 5.0, 10.0, 20.0)  # seconds between two looks of one page; few steps, so that they seldom change
ABSENT = 2.5  # beats without a look, after which a page is thought closed


class Pace:
    """Who looks, and how often they all may."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.lock = clock, threading.Lock()
        self.until: dict[str, float] = {}  # page: when it will be thought closed

    def beat(self, page: str, beat: float) -> float:
        """Note that a page looks, as it does every `beat` seconds; after how many it should look again."""
        with self.lock:
            now = self.clock()
            self.until = {one: until for one, until in self.until.items() if until >= now}
            pages = len(self.until.keys() | {page})
            wanted = next((one for one in BEATS if one >= pages / LOOKS), BEATS[-1])
            self.until[page] = now + ABSENT * min(max(beat, wanted), BEATS[-1])
            return wanted
