"""Rows that we wrote ourselves, for the app without a network and for the tests: one JSON file per task.

A file holds {"learn": […], "test": […]}: rows in the columns of the data set, or articles in SQuAD's nested form.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent


def read(name: str) -> tuple[list[dict], list[dict]]:
    """What to learn from and what to test on, of `samples/<name>.json`."""
    parts = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return parts["learn"], parts["test"]
