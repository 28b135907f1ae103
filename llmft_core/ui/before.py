"""What a run will cost, as far as earlier runs tell: examples, time, memory, leakage."""

from collections.abc import Sequence
from typing import NamedTuple

from llmft_core import models, rows, tasks, words
from llmft_core.config import RunConfig
from llmft_core.run import Run
from llmft_core.ui import choice, machine, tables

# Rows of the official parts, for an estimate before the data is on this machine.
SIZES = {"sst2": (67_349, 872), "squad_v2": (130_319, 11_873)}
BASE_MEMORY = 0.6e9  # bytes: Python, torch, a batch of activations of a small model
BYTES = {"lora": 4.6, "full": 16.5}  # per parameter: weights; and for full also gradients and both Adam moments
GB = 1e9


class Counts(NamedTuple):
    learn: int
    test: int


def counts(config: RunConfig) -> Counts | None:
    """How many examples will be learnt from and tested on, at most; None for a task whose size we do not know."""
    most = _most(config.task, config.split)
    return most and Counts(
        min(config.train_examples or most.learn, most.learn), min(config.eval_examples or most.test, most.test)
    )


def _most(task: str, split: str) -> Counts | None:
    """All examples of both parts."""
    if (size := _sizes(task)) is None:
        return None
    learn, test = size
    return Counts(learn, test) if split == "official" else Counts(round(0.8 * learn), round(0.2 * learn))


def _sizes(name: str) -> tuple[int, int] | None:
    """Rows of the parts to learn from and to test on: of the files at hand, or as published."""
    task = tasks.find(name)
    try:
        if place := rows.folder(None):
            import pyarrow.parquet as pq

            found = [rows.file_in(task, place, part) for part in task.splits]
            if all(path.suffix == ".parquet" for path in found):
                return tuple(pq.read_metadata(path).num_rows for path in found)
    except (ValueError, OSError):
        pass
    return SIZES.get(name)


def seconds(config: RunConfig, every: Sequence[Run]) -> float | None:
    """Both evaluations and the training, at the speed of the newest finished run of this task, model and method."""
    found, speed = counts(config), _speed(config, every)
    if not found or not speed:
        return None
    learnt = found.learn * (config.epochs or 1)
    return learnt / speed["train"] + found.test / speed["zero_shot"] + found.test / speed["fine_tuned"] + 5


def _speed(config: RunConfig, every: Sequence[Run]) -> dict | None:
    for run in _telling(every):
        if (
            not choice.is_of(run, config.task, choice.model_key(config.model))
            or run.config.resolved().method != config.method
        ):
            continue
        try:
            speed = (run.metrics() or {}).get("speed") or {}
        except ValueError:
            continue
        if all(
            isinstance(speed.get(key), int | float) and speed[key] > 0 for key in ("train", "zero_shot", "fine_tuned")
        ):
            return speed
    return None


def _telling(every: Sequence[Run]) -> list[Run]:
    """The runs in their order, but those on our few samples last: they say little about a dataset."""

    def is_small(run: Run) -> bool:
        try:
            return (run.metrics() or {}).get("source") == "samples"
        except ValueError:
            return True

    return sorted(every, key=is_small)


def memory(config: RunConfig) -> float | None:
    """Bytes that the worker will need, roughly; None for a model whose size we do not know."""
    try:
        parameters = models.find(config.model).parameters * 1e6
    except ValueError:
        return None
    return BASE_MEMORY + parameters * BYTES.get(config.method, 16.5) if parameters else None


def leakage(config: RunConfig, every: Sequence[Run]) -> str:
    """What an earlier run with this task and split has found of its test set in its training set.

    Of several on the dataset itself the one that learnt from about as many examples; who learns from fewer meets less.
    """
    most = _most(config.task, config.split)

    def learnt_from(settings: RunConfig) -> int:
        return min(settings.train_examples or most.learn, most.learn) if most else 0

    on_dataset, elsewhere = {}, {}
    for run in every:
        if run.damage or (run.config.task, run.config.split) != (config.task, config.split):
            continue
        try:
            metrics = run.metrics() or {}
        except ValueError:
            continue
        found = metrics.get("leakage") or {}
        if found.get("share") is not None:
            said = elsewhere if metrics.get("source") in ("samples", "data-file") else on_dataset
            said.setdefault(learnt_from(run.config.resolved()), tables.leakage(found))
    said, wanted = on_dataset or elsewhere, learnt_from(config)
    if not said:
        return ""
    nearest = min(said, key=lambda learnt: abs(learnt - wanted))
    if nearest == wanted:
        return said[nearest]
    return f"{said[nearest]}. That was a run on {words.count(nearest)} examples: fewer meet less, more meet more."


def facts(config: RunConfig, every: Sequence[Run]) -> list[tuple[str, str]]:
    """Time, Memory, Examples, Leakage: (name, words), empty words where nothing is known."""
    found = counts(config)
    says = f"{words.count(found.learn)} to learn, {words.count(found.test)} to test" if found else ""
    says += without_data(config.task)
    return [
        ("Time", about(seconds(config, every)) or "not known before the first run of this kind"),
        ("Memory", _memory_words(memory(config), machine.free_memory())),
        ("Examples", says),
        ("Leakage", leakage(config, every)),
    ]


def without_data(name: str) -> str:
    """What is taken instead, should the Hub be out of reach and no data folder given."""
    task = tasks.find(name)
    try:
        if rows.folder(None):
            return ""
        learn, test = (len(rows.samples(task, part)) for part in task.splits)
    except (ValueError, OSError):
        return ""
    return f"; without the Hub, {learn} and {test} of our own"


def about(seconds: float | None) -> str:
    """70 -> `about 1 min 10 s`, 5400 -> `about 1 h 30 min`."""
    if seconds is None:
        return ""
    if seconds < 55:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    if seconds < 3570:
        minutes, rest = divmod(round(seconds, -1), 60)
        return f"about {minutes:.0f} min" + (f" {rest:.0f} s" if rest and minutes < 10 else "")
    hours, rest = divmod(round(seconds / 600) * 10, 60)
    return f"about {hours:.0f} h" + (f" {rest:.0f} min" if rest and hours < 10 else "")


def _memory_words(needed: float | None, free: float | None) -> str:
    if needed is None:
        return ""
    if free is None:
        return f"about {needed / GB:.1f} GB"
    if needed > free:
        return f"about {needed / GB:.1f} GB, and only {free / GB:.1f} GB are free"
    return f"about {needed / GB:.1f} of {free / GB:.1f} GB free"
