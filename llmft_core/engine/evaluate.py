"""Put examples to a model and score what it answers: one table of prediction rows per side."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from llmft_core.engine import score
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded, Prompter
from llmft_core.tasks.base import Example, Task


def encode(task: Task, prompter: Prompter, examples: Sequence[Example], longest: int) -> list[Encoded]:
    """Prompts of all examples as ids, cut to `longest` tokens with room for the answer."""
    return prompter.encode_all([task.prompt(example) for example in examples], longest, answer_room(task, prompter))


def answer_room(task: Task, prompter: Prompter) -> int:
    """Tokens kept free for the answer of one example."""
    longest_label = max((len(prompter.answer(label)) for label in task.labels), default=0)
    return max(task.max_new_tokens, longest_label, len(prompter.answer(task.abstention)) if task.abstention else 0)


def predict(
    lm: LanguageModel,
    prompter: Prompter,
    task: Task,
    examples: Sequence[Example],
    longest: int,
    tick: Callable[[int], None] = lambda done: None,
) -> pd.DataFrame:
    """One row per example, in their order, with the columns of predictions.parquet except `side`."""
    prompts = encode(task, prompter, examples, longest)
    rows = (
        _choose(lm, prompter, task, prompts, examples, tick)
        if task.labels
        else _write(lm, prompter, task, prompts, examples, tick)
    )
    common = pd.DataFrame(
        {
            "id": [example.id for example in examples],
            "group": [hashlib.sha256(example.group.encode()).hexdigest()[:12] for example in examples],
            "tokens": [len(prompt.ids) for prompt in prompts],
            "truncated": [prompt.truncated for prompt in prompts],
        }
    )
    return pd.concat([common, pd.DataFrame(rows)], axis=1)


def _choose(lm, prompter, task: Task, prompts, examples, tick) -> dict[str, list]:
    log_probs = score.label_scores(lm, prompts, prompter.labels(task.labels), tick)
    predicted = log_probs.argmax(1)
    gold = np.array([task.labels.index(example.answers[0]) for example in examples])
    words = [task.labels[index] for index in predicted]
    rows = {
        "output": words,
        "answer": words,
        "gold": gold,
        "predicted": predicted,
        "correct": (gold == predicted).astype(float),
    }
    rows |= {f"logp_{index}": log_probs[:, index] for index in range(len(task.labels))}
    return rows | ({"p_positive": np.exp(log_probs[:, 1])} if len(task.labels) == 2 else {})


def _write(lm, prompter, task: Task, prompts, examples, tick) -> list[dict]:
    rows = []
    for example, written in zip(
        examples, score.write(lm, prompter, prompts, task.max_new_tokens, task.abstention, tick), strict=True
    ):
        answer = task.parse(written.text)
        scores = task.score(answer, example)
        row = {
            "output": written.text,
            "answer": answer,
            "has_answer": bool(example.answers),
            "answer_tokens": len(written.ids),
        }
        rows.append(row | scores | {"p_no_answer": written.p_no_answer, "correct": scores[task.headline]})
    return rows
