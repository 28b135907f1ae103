"""SQuAD 2.0: answer a question with words of a paragraph, or say that it cannot be answered. Free text, scored by F1.

Data: Rajpurkar et al. 2016 and 2018, on paragraphs of Wikipedia. Half of the questions of its official test part have
no answer.
"""

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping

import pandas as pd

from llmft_core import metrics
from llmft_core.tasks import samples
from llmft_core.tasks.base import Example, Prompt, Task

ABSTENTION = "unanswerable"  # what is taught for "no answer", and what the instruction asks for
OVERLAP = ("bleu_sentence", "meteor", "rouge1", "rouge2", "rougeL")
LEAD_IN = re.compile(r"^(?:answer\s*:|the (?:correct )?answer (?:to the question )?is\s*:?)\s*", re.IGNORECASE)
QUOTED = re.compile(r"""^["']([^"]*)["']$""")  # one pair around everything; the official scores keep curly ones
ABBREVIATION = re.compile(r"(?:\b\w|\.\w)\.$")  # the last full stop of "U.S." is part of the word
SOURCE = r"(?:the|this) (?:given |provided )?(?:text|passage|paragraph|context|article|information)"
# A refusal is the whole answer: "Unknown Pleasures" is a name, "unknown" is not.
REFUSAL = re.compile(
    r"(?:sorry\W+|unfortunately\W+|i'?m sorry\W+)?(?:"
    r"(?:(?:it|this|that|the question|the answer) (?:is|was) )?"
    r"(?:un-?answerable|not answerable|unknown|not (?:given|stated|mentioned|specified|provided|known))"
    r"|(?:there is )?no answer|none|n/?a|i (?:do not|don'?t) know|impossible to (?:say|tell)"
    r"|(?:(?:it|this|that|the question) )?(?:cannot|can ?not|can'?t) be (?:answered|determined)"
    rf")(?: (?:by|from|in|based on|given|with|using) {SOURCE}.*)?"
    rf"|{SOURCE} (?:does not|doesn'?t) "
    r"(?:say|state|mention|answer|tell|provide|specify|give|contain|include)\b.*",
    re.IGNORECASE,
)  # fmt: skip


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
    """The accepted texts of an `answers` cell, each once.

    The cell is {"text": [...], ...}, a list of {"text": "..."}, JSON of either, or nothing (unanswerable).
    """
    cell = cell.tolist() if hasattr(cell, "tolist") else cell
    if isinstance(cell, str) and cell.strip():
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            raise ValueError(
                f'answers: {cell[:60]!r} is not JSON such as {{"text": ["1914"], "answer_start": [7]}}'
            ) from None
    if cell is None or cell != cell or cell in ("", {}):  # cell != cell: NaN
        return ()
    try:
        texts = list(cell["text"] if isinstance(cell, Mapping) else [item["text"] for item in cell])
    except (TypeError, KeyError):
        texts = [cell]
    if (
        isinstance(cell, Mapping)
        and isinstance(cell.get("text"), str)
        or not all(isinstance(text, str) for text in texts)
    ):
        raise ValueError(f"answers: {str(cell)[:60]!r} holds no list of texts")
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


@functools.lru_cache(maxsize=64)  # the questions of a paragraph come one after another
def group_of(context: str) -> str:
    """A short name of the paragraph, however its white space is set."""
    return hashlib.sha256(" ".join(context.split()).encode()).hexdigest()[:12]


def flat(articles: list[dict]) -> list[dict]:
    """The nested form of SQuAD's own site, [{"title", "paragraphs": [{"context", "qas": […]}]}], as flat rows.

    Raises KeyError, TypeError or AttributeError for another form.
    """
    return [
        {
            **({"id": item["id"]} if "id" in item else {}),
            "title": article.get("title", ""),
            "context": paragraph["context"],
            "question": item["question"],
            "answers": [] if item.get("is_impossible") else item["answers"],
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for item in paragraph["qas"]
    ]


def own_samples() -> tuple[list[dict], list[dict]]:
    """Rows of our own, to learn from and to test on."""
    learn, test = samples.read("squad_v2")
    return flat(learn), flat(test)


def prompt(example: Example) -> Prompt:
    """Instruction and paragraph, which all its questions share; then the question."""
    return Prompt(
        f"Answer with words from the text, or say {ABSTENTION}.\n{example.shared}\n",
        f"Question: {example.question}\nAnswer:",
    )


def parse(text: str) -> str:
    """The answer in what a model wrote: its first line without lead-in, quotes and full stop; "" for a refusal.

    The official scores ignore quotes and full stops anyway; the overlap metrics do not.
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = _unwrapped(LEAD_IN.sub("", line))
    return "" if REFUSAL.fullmatch(line) else line


def _unwrapped(line: str) -> str:
    while True:
        shorter = line.strip().strip("*`")
        if shorter.endswith(".") and not ABBREVIATION.search(shorter):
            shorter = shorter[:-1]
        shorter = QUOTED.sub(r"\1", shorter)
        if shorter == line:
            return line
        line = shorter


def score(answer: str, example: Example) -> dict:
    """Official exact match and F1; the overlap metrics where there is an answer to overlap with, NaN elsewhere."""
    golds = list(example.answers)
    overlap = metrics.overlap_item(answer, golds) if golds else dict.fromkeys(OVERLAP, math.nan)
    counts = metrics.bleu_stats(answer, golds) if golds else None  # corpus BLEU is made of sums, not of sentence scores
    return metrics.squad_item(answer, golds) | overlap | {"bleu_stats": counts}


def summarise(table: pd.DataFrame) -> dict[str, float]:
    """Prediction rows of one side -> official scores, abstention, and overlap metrics over the answerable questions."""
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
    samples=own_samples,
)
