"""How long a test waits for what must happen: long enough for a machine that others use; never a measure of speed."""

import time
from collections.abc import Callable

import pytest

PATIENCE = 120.0  # seconds


def until(condition: Callable[[], object], what: str, told: Callable[[], str] = str) -> None:
    """Look again and again until the condition holds; a failure says what did not happen, and what `told` returns."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:.0f} s in vain until {what}: {told() or 'nothing is known'}")
        time.sleep(0.02)
