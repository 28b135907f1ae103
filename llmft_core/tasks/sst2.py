"""SST-2: is a piece of a film review positive or negative? Two labels, scored by accuracy.

Data: Stanford Sentiment Treebank in the form of GLUE (Socher et al. 2013, Wang et al. 2018). The text is lower-case and
cut into tokens with spaces. Its training part holds sub-phrases of the same sentences: see `engine/overlap.py`.
Copying this file under a new name is all that a third task needs.
"""

import hashlib
from collections.abc import Mapping
from functools import partial

import pandas as pd

from llmft_core import metrics
from llmft_core.tasks import samples
from llmft_core.tasks.base import Example, Prompt, Task

LABELS = ("negative", "positive")  # by their numbers in the data: positive = 1


def to_example(row: Mapping) -> Example:
    """{idx, sentence, label} -> Example. Raises ValueError("column: what is wrong")."""
    sentence = row["sentence"]
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"sentence: {sentence!r} is not a text")
    label = str(row["label"]).strip().removesuffix(".0")
    if label not in ("0", "1"):
        raise ValueError(f"label: {row['label']!r} is not 0 or 1")
    sentence = " ".join(sentence.split())
    return Example(
        id=str(row["idx"]),
        group=group_of(sentence.lower()),
        shared="",
        question=sentence,
        answers=(LABELS[int(label)],),
    )


def group_of(sentence: str) -> str:
    """A short name that equal sentences share; a split joins those that contain each other (`overlap.families`)."""
    return hashlib.sha256(sentence.encode()).hexdigest()[:12]


def prompt(example: Example) -> Prompt:
    """One line of instruction, the sentence, and the word after which the label stands."""
    return Prompt("Is this review positive or negative?\n", f"{example.question}\nSentiment:")


def parse(text: str) -> str:
    """The label that a generated answer begins with, "" if it begins with neither."""
    word = text.strip(" \n\"'*").lower()
    return next((label for label in LABELS if word.startswith(label)), "")


def score(answer: str, example: Example) -> dict[str, float]:
    """1 for the right label, 0 for another or for none."""
    return {"accuracy": float(answer == example.answers[0])}


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Prediction rows of one side -> accuracy, precision, recall, F1 (of "positive", and macro), AUROC, ECE."""
    p_positive = table["p_positive"].to_numpy() if "p_positive" in table else None
    return metrics.classification(table["gold"].to_numpy(), table["predicted"].to_numpy(), p_positive)


TASK = Task(
    name=__name__.rpartition(".")[2],  # the name of this file
    title="SST-2",
    what="Is a sentence from a film review positive or negative?",
    hub_id="stanfordnlp/sst2",
    splits=("train", "validation"),
    columns=("idx", "sentence", "label"),
    to_example=to_example,
    prompt=prompt,
    headline="accuracy",
    table_metrics=("accuracy", "precision", "recall", "f1"),
    labels=LABELS,
    parse=parse,
    score=score,
    summarise=summarise,
    group_of=group_of,
    samples=partial(samples.read, "sst2"),
)
