"""SQuAD 2.0: answer a question with words of a paragraph, or say that it cannot be answered. Free text, scored by F1.

Data: Rajpurkar et al. 2016 and 2018, on paragraphs of Wikipedia. Half of the questions of its official test part have no answer.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import partial

import pandas as pd

from llmft_core.tasks import samples
from llmft_core.tasks.base import Example, Prompt, Task

ABSTENTION = "unanswerable"  # what is taught for "no answer", and what the instruction asks for
OVERLAP = ("bleu_sentence", "meteor", "rouge1", "rouge2", "rougeL")
LEAD_IN = re.compile(r"^(?:answer\s*:|the (?:correct )?answer (?:to the question )?is\s*:?)\s*", re.IGNORECASE)
# A refusal is the whole answer, but for filler before it: "Not Answerable Records" is a name, not a refusal.
REFUSAL = re.compile(
    r"^(?:(?:sorry|unfortunately|i'?m sorry)\W+)?(?:(?:it|this|that|the question) (?:is|was|can\s?not be|cannot be) )?"
    r"(?:un-?answerable|not answerable|answered|no answer|none|n/?a|unknown|not (?:given|stated|mentioned|specified|provided)"
    r"|(?:i )?(?:do not|don'?t) know|cannot be (?:answered|determined)|can'?t be (?:answered|determined)|impossible to (?:say|tell))"
    r"(?: (?:by|from|in|based on|given|with|using) (?:the|this) (?:text|passage|paragraph|context|article|information).*)?$"
    r"|^(?:the|this) (?:text|passage|paragraph|context|article) (?:does not|doesn'?t|did not) "
    r"(?:say|state|mention|answer|tell|provide|specify|give|contain|include)\b.*$",
    re.IGNORECASE,
)


def to_example(row: Mapping) -> Example:
    """{id, title, context, question, answers} -> Example. Raises ValueError("column: what is wrong")."""
    for column in ("context", "question"):
        if not isinstance(row[column], str) or not row[column].strip():
            raise ValueError(f"{column}: {row[column]!r} is not a text")
    context = row["context"].strip()
    return Example(
        id=str(row["id"]),
        group=group_of(context),
        shared=context,
        question=" ".join(row["question"].split()),
        answers=_answers(row["answers"]),
    )


def _answers(cell) -> tuple[str, ...]:
    """The accepted texts of an `answers` cell, each once: a dict, JSON text of one, or nothing (unanswerable)."""
    if isinstance(cell, str) and cell.strip():
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            raise ValueError(f"answers: {cell[:60]!r} is not JSON like {{\"text\": [...], \"answer_start\": [...]}}") from None
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or len(cell) == 0:
        return ()
    texts = cell.get("text", ()) if isinstance(cell, Mapping) else [item["text"] for item in cell]
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"answers: {texts!r} is not a list of texts")
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


def group_of(context: str) -> str:
    """A short name of the paragraph, however its white space is set."""
    return hashlib.sha256(" ".join(context.split()).encode()).hexdigest()[:12]


def prompt(example: Example) -> Prompt:
    """Instruction and paragraph, which all its questions share; then the question."""
    return Prompt(
        f"Answer with words from the text, or say {ABSTENTION}.\n{example.shared}\n",
        f"Question: {example.question}\nAnswer:",
    )


def parse(text: str) -> str:
    """The answer in what a model wrote: its first line without lead-in, quotes and last full stop; "" for a refusal."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = LEAD_IN.sub("", line).strip().strip("\"'“”‘’`*").strip()
    if line.endswith(".") and not re.search(r"(?:\b\w|\.\w)\.$", line):
        line = line[:-1].rstrip("\"'“”‘’ ")
    return "" if not line or REFUSAL.match(line.strip(" .!")) else line


def score(answer: str, example: Example) -> dict[str, float]:
    """Official exact match and F1; the overlap metrics where there is an answer to overlap with, NaN elsewhere."""
    from llmft_core import metrics

    golds = list(example.answers)
    overlap = metrics.overlap_item(answer, golds) if golds else dict.fromkeys(OVERLAP, math.nan)
    return metrics.squad_item(answer, golds) | overlap


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Prediction rows of one side -> official scores, abstention, and overlap metrics over the answerable questions."""
    from llmft_core import metrics

    return metrics.squad_summary(table)


TASK = Task(
    name=__name__.rpartition(".")[2],  # the name of this file
    title="SQuAD v2",
    what="Answer a question from a paragraph, or say that it cannot be answered.",
    hub_id="rajpurkar/squad_v2",
    splits=("train", "validation"),
    columns=("id", "title", "context", "question", "answers"),
    to_example=to_example,
    prompt=prompt,
    headline="f1",
    table_metrics=("exact_match", "f1", "meteor", "bleu", "rouge1", "rouge2", "rougeL"),
    abstention=ABSTENTION,
    max_new_tokens=32,
    parse=parse,
    score=score,
    summarise=summarise,
    group_of=group_of,
    samples=partial(samples.read, "squad_v2"),
    # always abstain: right on the 5,945 of 11,873 questions that have no answer
    baselines={
        "exact_match": 0.5007,
        "f1": 0.5007,
        "has_answer_exact_match": 0.0,
        "has_answer_f1": 0.0,
        "no_answer_exact_match": 1.0,
        "no_answer_f1": 1.0,
        "abstention_rate": 1.0,
        "bleu": 0.0,
        "meteor": 0.0,
        "rouge1": 0.0,
        "rouge2": 0.0,
        "rougeL": 0.0,
    },
)
