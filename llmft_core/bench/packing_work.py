"""What packing gains, inside a child: the same examples as prompt trees, as padded rows, and one by one."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from llmft_core import tasks
from llmft_core.engine import data, evaluate, exact, load, score, train
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Prompter
from llmft_core.engine.tree import ONE_BY_ONE, PACKED, PADDED, Packing

WAYS = {"packed": PACKED, "padded": PADDED, "one_by_one": ONE_BY_ONE}
STEP = 32  # examples per optimizer step


def measure(request: dict) -> tuple[float, int, dict, dict]:
    """Examples per second of each way, the ways in turn in every round; medians, and how far the results agree.

    `agreement` is the share of equal predictions for evaluation, and for training the largest relative gap between
    the gradients of the first step, packed against one by one. Raises ValueError for a model that bears no trees.
    """
    task, examples, rounds = tasks.find(request["task"]), request["examples"], request["rounds"]
    found = data.load(task, data_dir=request["data_dir"], train_examples=examples, eval_examples=examples)
    lm = _with_trees(request["model"])
    prompter = Prompter(lm.tokenizer)
    test = evaluate.encode(task, prompter, found.test, lm.context)
    lessons = train.lessons_of(task, prompter, found.train, lm.context)
    pupil = load.with_new_adapter(load.load(request["model"]), 16)
    for name, parameter in pupil.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)  # at zero the gradients of A would all be zero
    steps = train.plan(lessons, STEP, 1, 1)
    works: dict[str, Callable[[Packing], object]] = {
        "evaluate": lambda way: _predict(lm, prompter, task, test, way),
        "train": lambda way: [_step(pupil, [lessons[i] for i in step], way) for step in steps],
    }
    counts = {"evaluate": len(test), "train": len(lessons)}
    report: dict = {"task": task.name, "model": request["model"], "n": counts, "source": found.source, "rounds": rounds}
    everything = 0.0
    for work, do in works.items():
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        last = {}
        for _ in range(rounds):
            for way, packing in WAYS.items():
                start = time.perf_counter()
                last[way] = do(packing)
                seconds[way].append(time.perf_counter() - start)
        rates = {way: round(counts[work] / statistics.median(taken), 2) for way, taken in seconds.items()}
        report[work] = {"examples_per_second": rates, "agreement": _agreement(work, last)}
        for other in ("padded", "one_by_one"):
            pairs = [b / a for a, b in zip(seconds["packed"], seconds[other], strict=True)]
            report[work][f"ratio_{other}"] = round(statistics.median(pairs), 2)
        everything += sum(map(sum, seconds.values()))
    return everything, len(works), report, {}


def _with_trees(model: str) -> LanguageModel:
    lm = load.load(model)
    if not lm.bears_trees:
        raise ValueError(f"{exact.slower(lm)} There is nothing to compare: choose another model.")
    return lm


def _predict(lm, prompter: Prompter, task, prompts, way: Packing) -> list:
    if task.labels:
        return score.label_scores(lm, prompts, prompter.labels(task.labels), packing=way).argmax(1).tolist()
    return [w.text for w in score.write(lm, prompter, prompts, task.max_new_tokens, task.abstention, packing=way)]


def _step(lm, lessons: list[train.Lesson], way: Packing) -> torch.Tensor:
    """Forward and backward of one optimizer step; the gradients as one vector."""
    lm.model.zero_grad(set_to_none=True)
    tokens = sum(len(lesson.answer) for lesson in lessons)
    for layout in train.lay_out_lessons(lm, lessons, way):
        (train.answer_loss(lm, layout.to(lm.device)) / tokens).backward()
    return torch.cat([p.grad.flatten() for p in lm.model.parameters() if p.grad is not None]).clone()


def _agreement(work: str, last: dict) -> float:
    if work == "evaluate":
        return float(np.mean([a == b for a, b in zip(last["packed"], last["one_by_one"], strict=True)]))
    packed, alone = last["packed"][0], last["one_by_one"][0]
    return float((packed - alone).norm() / alone.norm())
