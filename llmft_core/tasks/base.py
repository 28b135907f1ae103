"""What a task is: where its rows are, how a row becomes an Example, how an answer is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd


@dataclass(frozen=True)
class Example:
    """One item of a task, ready to be put to a model.

    `shared` is the text that several examples have in common (the paragraph; empty for a lone sentence), `question`
    what is asked of this one. `answers` are the accepted answers: one label name for a task with labels, any number of
    texts for free text, none if the question cannot be answered. `group` names what must not lie on both sides of a
    split and what the bootstrap draws as one piece (sentence family, paragraph).
    """

    id: str
    group: str
    shared: str
    question: str
    answers: tuple[str, ...]


class Prompt(NamedTuple):
    """What a model reads, in two pieces of text: `prefix` is equal for all examples with the same `shared`.

    The answer follows `question` directly; `prefix` ends and `question` begins where no tokenizer merges (a newline).
    """

    prefix: str
    question: str


@dataclass(frozen=True)
class Task:
    """A task is one value of this class, named TASK, in a file of `llmft_core/tasks`."""

    name: str  # what people type
    title: str  # what people read: "SST-2"
    what: str  # one sentence for the form
    hub_id: str  # dataset id on the Hub
    splits: tuple[str, str]  # names of the splits to learn from and to test on, in the Hub's dataset and as file stems
    columns: tuple[str, ...]  # columns of a data file; the first, its id, may be absent: the row number does then
    to_example: Callable[[Mapping], Example]  # one row -> Example; ValueError("column: what is wrong") for a bad row
    prompt: Callable[[Example], Prompt]  # the words a model is given, without the answer
    headline: str  # the metric of the verdict
    table_metrics: tuple[str, ...]  # metrics of the coursework's table, in order
    labels: tuple[str, ...] = ()  # class names in the order of their numbers; empty = free text
    abstention: str = ""  # what a model is taught to write for "no answer"; empty if every question has an answer
    max_new_tokens: int = 8
    parse: Callable[[str], str] = str.strip  # what the model wrote -> the answer that is scored ("" = abstained)
    score: Callable[[str, Example], dict] = field(
        default=None
    )  # (parsed answer, example) -> columns of its prediction row
    summarise: Callable[[pd.DataFrame], dict[str, float]] = field(
        default=None
    )  # prediction rows of one side -> metrics, 0..1
    group_of: Callable[[str], str] = str  # normalised text -> group name
    samples: Callable[[], tuple[list[dict], list[dict]]] = field(
        default=None
    )  # self-written rows (to learn from, to test on)
