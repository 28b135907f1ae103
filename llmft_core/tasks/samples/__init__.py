"""Rows that we wrote ourselves, for the app without a network and for the tests: one JSON file per task.

A file holds {"learn": [row, ...], "test": [row, ...]} in the columns of its data set, or SQuAD's nested form per part.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent


def read(name: str) -> tuple[list[dict], list[dict]]:
    """Rows to learn from and rows to test on, of `samples/<name>.json`."""
    parts = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return parts["learn"], parts["test"]
