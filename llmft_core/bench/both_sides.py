"""What pressing Try costs: both sides of an adapter answer, ours in one pass, transformers in two models in turn."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmft_core import checks, models, runs
from llmft_core.bench import duel

TITLE = "both sides of a LoRA pair answer the same questions with 64 tokens each"
DEFAULTS = {"model": "mini", "examples": 4, "rounds": 3}
SIDES = "llmft_core.bench.both_sides_turns"
SHIPPED = "squad-v2-mini-lora"  # the run whose adapter mini answers with; any other model gets a random one
TOKENS = 64


def run(options: dict, say) -> dict:
    """The report of the duel; `over_one_side` of either side is its time by that of the fine-tuned side alone."""
    fight = duel.Duel(f"{SIDES}:ours", f"{SIDES}:theirs", "transformers: generate with two models, in turn", agreement)
    with _adapter(options["model"]) as adapter:
        request = {"model": options["model"], "adapter": adapter, "n": options["examples"], "tokens": TOKENS}
        report = duel.fight("try", fight, request, options["rounds"], say)
    return report | {"request": {"model": options["model"], "examples": options["examples"], "tokens": TOKENS}}


@contextlib.contextmanager
def _adapter(model: str) -> Iterator[str]:
    """The folder of an adapter for the model; a random one is removed at the end."""
    if models.find(model).is_shipped and model == models.find("mini").source:
        yield str(runs.find(SHIPPED).adapter)
        return
    with tempfile.TemporaryDirectory(prefix="llmft-adapter-") as folder:
        request = {"base": str(checks.local_folder(model)), "folder": folder}
        duel.take_turn("llmft_core.bench.checkpoint_pair:make_adapter", request)
        yield str(Path(folder) / "adapter")


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> float:
    """Share of all answers of both sides whose tokens are equal."""
    return sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(theirs)


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    heads, rows, numbers = duel.table(report)
    for side in ("ours", "theirs"):
        rows.append((f"{side}: both sides take × {report[side]['over_one_side']:.2f} the time of one", "", "", ""))
    return heads, rows, numbers
