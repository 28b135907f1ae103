"""As many threads as there are idle cores: two that wait for each other on one core take ten times as long as one.

Threads of torch wait for each other after every product, some thousand times a second. Asleep they lose more than a
second core gives, so they wait awake (`jobs.children`); that pays only while nobody else wants their core.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

EVERY = 0.25  # seconds between two looks
SPARE = 0.3  # of a core that others may use before it counts as theirs


class Crowd:
    """What all processes but this one compute, and how many threads that leaves; `most` are those it began with."""

    def __init__(self):
        self.most = torch.get_num_threads()
        self.seen = _clock()

    def room(self) -> int:
        """Threads for which there is a core: at least one, at most `most`. Looks back to the last call."""
        before, self.seen = self.seen, _clock()
        passed, busy, mine = (now - then for now, then in zip(self.seen, before, strict=True))
        others = max(0.0, busy - mine) / max(passed, 1e-9)
        return max(1, min(self.most, int((os.cpu_count() or 1) - others + SPARE)))


_crowd: Crowd | None = None


def fit() -> None:
    """Compute with as many threads as have a core to themselves; cheap enough to be called before every pass."""
    global _crowd
    if _crowd is None:
        _crowd = Crowd()
    elif _crowd.most > 1 and time.monotonic() - _crowd.seen[0] >= EVERY:
        threads = _crowd.room()
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)


@contextmanager
def one() -> Iterator[None]:
    """In this block there is one thread, so that equal work gives equal bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _clock() -> tuple[float, float, float]:
    """Seconds that have passed, that all cores were busy, and that this process was."""
    times = psutil.cpu_times()._asdict()
    busy = sum(times.get(name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    return time.monotonic(), busy, time.process_time()
