"""What fine-tuning did to the weights: read from the files by us, against loading both models and looping."""

import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmft_core import checks, files
from llmft_core.bench import duel

TITLE = "the change of every tensor between two checkpoints, and what a LoRA adapter changes"
DEFAULTS = {"model": "llama-3.2-1b-shape", "rounds": 3, "keep": False}
SIDES = "llmft_core.bench.weights_sides"
EXACT = 1e-3  # relative, for figures that are sums over the entries
ESTIMATED = 0.05  # relative, for what both sides estimate: the spectral norm, and twice that for its square


def run(options: dict, say) -> dict:
    """The report of the duel, with `over_reading` (ours by the time of reading the bytes alone), `from_disk` (the same
    of files that are not in the page cache; None where the system cannot be asked to drop them) and `lora`."""
    fight = duel.Duel(f"{SIDES}:ours", f"{SIDES}:theirs", "transformers: load both models and loop", agreement)
    base = str(checks.local_folder(options["model"]))
    with _pair(base, options["keep"]) as folders:
        report = duel.fight("weights", fight, folders, options["rounds"], say)
        disk = _more("from_disk", folders, options["rounds"], say) if hasattr(os, "posix_fadvise") else None
        lora = _more("lora", folders, options["rounds"], say)
    own = {"over_reading": _over_reading(report["ours"]), "from_disk": disk, "lora": lora}
    return report | {"request": {"model": options["model"]}} | own


def _over_reading(found: dict) -> float:
    return round(found["seconds"] / found["read_seconds"], 2)


def _more(side: str, folders: dict, rounds: int, say) -> dict:
    """Medians of what has no counterpart."""
    turns = [duel.take_turn(f"{SIDES}:{side}", folders) for _ in range(rounds)]
    for number, turn in enumerate(turns, 1):
        say(f"round {number}, {side}: {turn.seconds:.2f} s, {turn.peak_memory / 2**20:.0f} MiB")
    found = duel.summary(turns)
    if "read_seconds" in found:
        found["read_seconds"] = statistics.median(turn.about["read_seconds"] for turn in turns)
        found["over_reading"] = _over_reading(found)
    return found


@contextlib.contextmanager
def _pair(base: str, keep: bool) -> Iterator[dict]:
    """{"base", "tuned", "adapter"}: folders that a child makes; removed at the end, or with `keep` found again."""
    home = Path(tempfile.gettempdir()).resolve() / "llmft-pairs"
    home.mkdir(exist_ok=True)
    kept, made = home / Path(base).name, Path(tempfile.mkdtemp(dir=home))
    try:
        if not kept.is_dir():
            duel.take_turn("llmft_core.bench.checkpoint_pair:make", {"base": base, "folder": str(made)})
        if keep and not kept.is_dir():
            made.rename(kept)
        folder = kept if kept.is_dir() else made
        yield {"base": base, "tuned": str(folder / "tuned"), "adapter": str(folder / "adapter")}
    except OSError as error:
        raise ValueError(files.sentence(error)) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def agreement(ours: dict[str, dict], theirs: dict[str, dict]) -> float:
    """Share of all tensors whose every figure agrees; {tensor: {column: number}, None where there is none} of both."""
    names = ours.keys() | theirs.keys()
    return sum(name in ours and name in theirs and alike(ours[name], theirs[name]) for name in names) / len(names)


def alike(ours: dict, theirs: dict) -> bool:
    """Whether all figures that their side has are those of ours, within EXACT or ESTIMATED."""
    for column, value in theirs.items():
        if value is None or ours[column] is None:
            if value != ours[column]:
                return False
            continue
        share = {"spectral_norm": ESTIMATED, "stable_rank": 2 * ESTIMATED}.get(column, EXACT)
        if not abs(ours[column] - value) <= share * abs(value):
            return False
    return True


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    heads, rows, numbers = duel.table(report)
    lora, reading, disk = report["lora"], report["ours"]["read_seconds"], report["from_disk"]
    rows.insert(
        2, ("ours, the adapter", f"{lora['per_second']:.2f}", f"{lora['seconds']:.2f}", lora["peak_memory_mib"])
    )
    rows.append((f"reading the bytes alone {reading:.2f} s: ours × {report['over_reading']:.2f}", "", "", ""))
    if disk:
        speed = disk["bytes"] / disk["read_seconds"] / 1e9
        said = f"from the disk ({speed:.1f} GB/s) {disk['read_seconds']:.2f} s: ours {disk['seconds']:.2f} s"
        rows.append((f"{said}, × {disk['over_reading']:.2f}", "", "", ""))
    return heads, rows, numbers
