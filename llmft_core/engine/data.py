"""Rows enter here, from a file, a folder, the Hub or our own samples and are split in two."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from llmft_core import checks, rows
from llmft_core.engine import overlap
from llmft_core.tasks import Example, Task

TEST_SHARE = 0.2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """Examples to learn from and to test on, and where they came from.

    `leakage` is {"share": 0..1 of the test examples that were met in training, "what": the words after "98.7 % of"};
    it is empty where nothing was loaded to learn from. `fingerprint` has a SHA-256 for "train" and "test", whatever
    their order.
    """

    train: list[Example]
    test: list[Example]
    source: str  # hub, data-dir, data-file or samples
    split: str
    fingerprint: dict[str, str] = field(default_factory=dict)
    leakage: dict = field(default_factory=dict)
    note: str = ""  # a sentence for people, where something other than what they asked for was taken


def load(
    task: Task,
    split: str = "official",
    data_dir: str | Path | None = None,
    data_file: str | Path | None = None,
    seed: int = 1,
    train_examples: int | None = None,
    eval_examples: int | None = None,
) -> Data:
    """Both sides of a split. Never hangs: without the Hub it answers with our own samples, and says so in `note`.

    official: the data's own parts. 80-20: of the training part, stratified by label, or by question for free text.
    grouped: 80:20 with no sentence family or paragraph on both sides. Raises ValueError with one sentence.
    """
    source = _Source(task, data_dir, data_file)
    if split == "official":
        if data_file:
            raise ValueError(
                f"{Path(data_file).name} is one file, without a test part: add --split 80-20 or --split grouped."
            )
        train, test = source.parts(0, 1)
        train, test = take(train, train_examples, seed), take(test, eval_examples, seed)
        train, test = with_families(train), with_families(test)
    else:
        train, test = divide(task, with_families(*source.parts(0)), split, seed)
        train, test = take(train, train_examples, seed), take(test, eval_examples, seed)
    prints = {"train": fingerprint(train), "test": fingerprint(test)}
    return Data(train, test, source.name, split, prints, leakage(train, test), source.note)


def load_test(
    task: Task,
    split: str = "official",
    data_dir: str | Path | None = None,
    data_file: str | Path | None = None,
    seed: int = 1,
    examples: int | None = None,
) -> Data:
    """Only the rows to test on, the same as `load` gives; of a `data_file` all rows unless a split divides it."""
    source = _Source(task, data_dir, data_file)
    if split == "official":
        test = with_families(take(*source.parts(1), examples, seed))
    else:
        test = take(divide(task, with_families(*source.parts(0)), split, seed)[1], examples, seed)
    name = "file" if data_file and split == "official" else split
    return Data([], test, source.name, name, {"test": fingerprint(test)}, {}, source.note)


def part(task: Task, name: str, data_dir: str | Path | None = None) -> tuple[list[Example], str]:
    """The rows of one official part ("train" or "test") as they lie in the file, and where they came from."""
    source = _Source(task, data_dir, None)
    return source.parts(("train", "test").index(name))[0], source.name


class _Source:
    """Where the rows of a task come from: a file, else a folder, else the Hub, else our own samples."""

    def __init__(self, task: Task, data_dir, data_file):
        self.task, self.file, self.note = task, data_file, ""
        self.folder = None if data_file else rows.folder(data_dir)
        self.name = "data-file" if data_file else "data-dir" if self.folder else "hub"

    def parts(self, *indices: int) -> list[list[Example]]:
        """The rows of the part to learn from (0), to test on (1), or of both; never of two sources."""
        names = [self.task.splits[index] for index in indices]
        if self.file:
            return [rows.read(self.task, self.file) for _ in names]
        if self.folder:
            return [rows.read(self.task, rows.file_in(self.task, self.folder, name)) for name in names]
        found = []
        for name in names:
            examples = rows.downloaded(self.task, name) or from_hub(self.task, name)
            if examples is None:
                return self._samples(names)
            found.append(examples)
        return found

    def _samples(self, names: list[str]) -> list[list[Example]]:
        self.name = "samples"
        self.note = (
            f"The Hub cannot be reached, so {self.task.title} is played with rows of our own: "
            "give --data-dir for the real ones."
        )
        return [rows.samples(self.task, name) for name in names]


def from_hub(task: Task, part: str) -> list[Example] | None:
    """One part of the data set, downloaded, or None if the Hub does not answer.

    Raises ValueError if the data set is gated, not there, or not what the task expects.
    """
    if not checks.hub_answers():
        return None
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        table = load_dataset(task.hub_id, split=part)
    except DatasetNotFoundError as error:
        if "gated" in str(error).lower():
            raise ValueError(
                f"The data set '{task.hub_id}' is gated: accept its terms on its Hub page "
                "and set HF_TOKEN to a token of that account."
            ) from None
        raise ValueError(f"The Hub has no data set '{task.hub_id}': check its name, or give --data-dir.") from None
    except ConnectionError as error:
        log.warning("The Hub stopped answering: %s", error)
        return None
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"The data set '{task.hub_id}' could not be downloaded: {reason}") from error
    return rows.checked(task, rows.records(table.to_pandas()), task.hub_id)


def divide(task: Task, examples: list[Example], split: str, seed: int) -> tuple[list[Example], list[Example]]:
    """80:20, at random (80-20) or by whole groups (grouped). Raises ValueError if there is too little to divide."""
    if split == "80-20":
        chosen = _stratified(task, examples, seed)
    elif split == "grouped":
        chosen = _whole_groups(examples, seed)
    else:
        raise ValueError(f"Unknown split '{split}'. Choose official, 80-20 or grouped.")
    train = [example for example, is_test in zip(examples, chosen, strict=True) if not is_test]
    test = [example for example, is_test in zip(examples, chosen, strict=True) if is_test]
    if not train or not test:
        raise ValueError(f"{len(examples)} rows are too few to keep a fifth for testing; give more, or another split.")
    return train, test


def _stratified(task: Task, examples: list[Example], seed: int) -> np.ndarray:
    """Flags [n] of the test rows, as dealt by scikit-learn's `train_test_split` (the coursework's way, at seed 1)."""
    from sklearn.model_selection import train_test_split

    labels = [example.answers[0] for example in examples] if task.labels else None
    try:
        test = train_test_split(np.arange(len(examples)), test_size=TEST_SHARE, random_state=seed, stratify=labels)[1]
    except ValueError:
        raise ValueError(
            f"{len(examples)} rows are too few for an 80-20 split with every label on both sides; give more."
        ) from None
    return np.isin(np.arange(len(examples)), test)


def _whole_groups(examples: list[Example], seed: int) -> np.ndarray:
    """Flags [n] of the test rows: groups in random order, each taken if it still fits into a fifth of the rows."""
    groups, room = _groups(examples), round(len(examples) * TEST_SHARE)
    chosen = np.zeros(len(examples), dtype=bool)
    for key in _shuffled(list(groups), seed):
        if len(groups[key]) <= room:
            chosen[groups[key]] = True
            room -= len(groups[key])
    return chosen


def take(examples: list[Example], count: int | None, seed: int) -> list[Example]:
    """At most `count` examples at random, by whole paragraphs where examples share one, so that prompt trees stay full.

    The choice for a smaller count begins that for a larger one, and is the same whatever order the file has.
    """
    if not count or count >= len(examples):
        return examples
    if examples[0].shared:
        groups = _groups(examples)
        order = [index for key in _shuffled(sorted(groups), seed) for index in groups[key]]
    else:
        order = _shuffled(sorted(range(len(examples)), key=lambda index: examples[index].id), seed)
    return [examples[index] for index in order[:count]]


def _groups(examples: Sequence[Example]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.group, []).append(index)
    return groups


def _shuffled(items: list, seed: int) -> list:
    return [items[index] for index in np.random.default_rng(seed).permutation(len(items))]


def with_families(examples: list[Example]) -> list[Example]:
    """The same examples, those without a shared text grouped by the sentence that they are pieces of."""
    if not examples or examples[0].shared:
        return examples
    longest = overlap.families([example.question for example in examples])
    return [replace(example, group=examples[row].group) for example, row in zip(examples, longest, strict=True)]


def leakage(train: Sequence[Example], test: Sequence[Example]) -> dict:
    """How much of the test set was met in training: paragraphs for questions, phrases for lone sentences."""
    if test and test[0].shared:
        known = {example.group for example in train}
        share = sum(example.group in known for example in test) / len(test)
        return {"share": share, "what": "test questions have their paragraph in the training part"}
    share = overlap.share_found([example.question for example in test], [example.question for example in train])
    return {
        "share": share,
        "what": "test phrases are met in training: inside a phrase there, or around one of three tokens or more",
    }


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 over ids, texts and answers, in order of the ids."""
    digest = hashlib.sha256()
    for example in sorted(examples, key=lambda example: example.id):
        for text in (example.id, example.shared, example.question, *example.answers):
            digest.update(f"{len(text)}:{text}".encode())
        digest.update(b"\n")
    return digest.hexdigest()
