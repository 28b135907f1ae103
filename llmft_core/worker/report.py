"""What metrics.json says: the paired verdict, calibrated scores, the trivial answer and the ceiling."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from llmft_core import metrics, statistics
from llmft_core.engine import evaluate, threads
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Prompter
from llmft_core.tasks.base import Example, Task


def compare(task: Task, examples: Sequence[Example], before: pd.DataFrame, after: pd.DataFrame) -> dict:
    """The verdict on both sides' rows, and beside it what a trivial answer and a perfect one would score."""
    report = statistics.verdict(task, before, after)
    if task.labels:
        sides = {"zero_shot": before, "fine_tuned": after}
        report["calibrated"] = {side: task.summarise(calibrated(task, rows)) for side, rows in sides.items()}
    report["baseline"] = task.summarise(trivial_rows(task, examples))
    report["ceiling"] = task.summarise(gold_rows(task, examples))
    return report


def calibrated(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the side's mean label log-probability subtracted (Batch Calibration, arXiv 2309.17249)."""
    columns = [f"logp_{index}" for index in range(len(task.labels))]
    return label_rows(task, rows["gold"].to_numpy(), np.log(metrics.calibrate(rows[columns].to_numpy())))


def label_rows(task: Task, gold: np.ndarray, log_probs: np.ndarray) -> pd.DataFrame:
    """Prediction rows made from label log-probabilities [n, labels]."""
    predicted = log_probs.argmax(1)
    columns = {f"logp_{index}": log_probs[:, index] for index in range(log_probs.shape[1])}
    if len(task.labels) == 2:
        columns["p_positive"] = np.exp(log_probs[:, 1])
    return pd.DataFrame({"gold": gold, "predicted": predicted, "correct": (gold == predicted).astype(float), **columns})


def trivial_rows(task: Task, examples: Sequence[Example]) -> pd.DataFrame:
    """Rows of the answer that needs no reading: the majority class (of equal ones the last), or always to abstain."""
    if not task.labels:
        return text_rows(task, examples, [""] * len(examples))
    gold = np.array([task.labels.index(example.answers[0]) for example in examples])
    share = np.bincount(gold, minlength=len(task.labels)) / len(gold)
    share = share + 1e-6 * np.arange(len(share))  # always "negative" would have no F1, always "positive" has one
    return label_rows(task, gold, np.tile(np.log(np.clip(share, 1e-9, 1)), (len(gold), 1)))


def gold_rows(task: Task, examples: Sequence[Example]) -> pd.DataFrame:
    """Rows of a model that gives the first accepted answer back."""
    if not task.labels:
        return text_rows(task, examples, [example.answers[0] if example.answers else "" for example in examples])
    gold = np.array([task.labels.index(example.answers[0]) for example in examples])
    return label_rows(task, gold, np.log(np.where(np.eye(len(task.labels))[gold] > 0, 1 - 1e-9, 1e-9)))


def text_rows(task: Task, examples: Sequence[Example], answers: Sequence[str]) -> pd.DataFrame:
    """Prediction rows of given answers."""
    scored = [task.score(answer, example) for answer, example in zip(answers, examples, strict=True)]
    rows = pd.DataFrame(scored)
    return rows.assign(
        id=[example.id for example in examples],
        answer=list(answers),
        has_answer=[bool(example.answers) for example in examples],
        correct=rows[task.headline],
    )


@torch.inference_mode()
def probe_logits(lm: LanguageModel, prompter: Prompter, task: Task, example: Example, longest: int) -> torch.Tensor:
    """Next-token logits of one prompt, computed plainly, with the same bits whenever the weights are the same."""
    (prompt,) = evaluate.encode(task, prompter, [example], longest)
    with threads.one():
        return lm.model(torch.tensor([prompt.ids], device=lm.device)).logits[0, -1].float().cpu()
