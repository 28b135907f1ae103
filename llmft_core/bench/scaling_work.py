"""What bench scaling times, inside a child: LoRA steps (forward and backward) and label scores on made-up trees."""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from llmft_core.bench import gpu_peak
from llmft_core.engine import attention, exact, frozen, load, score, train
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded
from llmft_core.engine.tree import Packing

RANK = 16
ANSWER = (5, 6, 5)  # what is learnt, any tokens; the last one is only predicted, so the row holds two
LABELS = ((5,), (6,))
PATIENCE = 120.0  # seconds that a process waits for the others
FIRST = 1000  # ids below may be special
STORED_IN = {"train": torch.bfloat16, "evaluate": torch.float32}  # the frozen matrices, as where the Trainer learns


def measure(request: dict) -> tuple[float, int, dict, dict]:
    """Median seconds of training and of evaluation at each of `points`, in turn in every round.

    A point is {paragraph, questions, question, budget, tokens, way}: so many questions of so many tokens hang on each
    paragraph, `budget` padded tokens go through a pass, and there are about `tokens` in all. Its way is "packed",
    "rows" (each question has a row of its own) or "one by one" (and a pass of its own).
    Raises ValueError for a model that bears no trees or cannot read that much.
    """
    if request.get("threads"):
        torch.set_num_threads(request["threads"])
    pupil = _pupil(request)
    made, works = [], []
    for point in request["points"]:
        refuse_long(pupil, point)
        trees = count(point)
        made.append(point | {"trees": trees, "tokens": row_tokens(point)})
        works.append(_works(pupil, point, trees, request["seed"]))
        for work in _works(pupil, point, min(trees, rows_in_pass(point)), request["seed"]).values():
            work()
    still = frozen.matrices(pupil.model) if load.trains_mixed(pupil) else []
    seconds: list[dict[str, list[float]]] = [{name: [] for name in one} for one in works]
    turn = 0
    for _ in range(request["rounds"]):
        for one, taken in zip(works, seconds, strict=True):
            for name, work in one.items():
                with frozen.stored_in(STORED_IN[name], still):
                    _meet(request.get("meeting"), turn)
                    taken[name].append(gpu_peak.timed(work, pupil.device)[0])
                turn += 1
    for point, taken in zip(made, seconds, strict=True):
        point["seconds"] = {name: statistics.median(each) for name, each in taken.items()}
    everything = sum(sum(each) for taken in seconds for each in taken.values())
    weights = sum(p.numel() for name, p in pupil.model.named_parameters() if "lora_" not in name)
    return everything, len(made), {"points": made, "parameters": weights}, {}


def _pupil(request: dict) -> LanguageModel:
    """A model by name, or of random weights in the shape that a dict describes, with a fresh adapter."""
    torch.manual_seed(request["seed"])
    if isinstance(request["model"], dict):
        device = load.pick_device()
        shaped = {"device": str(device), "shape": request["model"], "seed": request["seed"]}
        lm = gpu_peak.model_of(shaped, load.pick_dtype(device, full=False))
        for parameter in lm.model.parameters():
            parameter.data = parameter.data.bfloat16().to(parameter.dtype)  # as published weights are
    else:
        lm = load.load(request["model"])
    if not lm.bears_trees:
        raise ValueError(f"{exact.slower(lm)} There are no trees to measure: choose another model.")
    pupil = load.with_new_adapter(lm, RANK)
    pupil.model.train()
    return pupil


def row_tokens(point: dict) -> int:
    """Tokens of one tree of a point; those of an answer count as its question's."""
    return point["paragraph"] + point["questions"] * point["question"]


def rows_in_pass(point: dict) -> int:
    """Trees that go through a pass together."""
    return max(1, point["budget"] // row_tokens(point))


def count(point: dict) -> int:
    """Trees of about `tokens` in all that fill their passes, at least one pass."""
    rows = rows_in_pass(point)
    return rows * max(1, round(point["tokens"] / (rows * row_tokens(point))))


def refuse_long(lm: LanguageModel, point: dict) -> None:
    """Raises ValueError if the model has no places for a paragraph, a question and its answer."""
    needed = point["paragraph"] + point["question"] + 1
    if needed > lm.context:
        raise ValueError(f"{lm.source} reads {lm.context} tokens, and this needs {needed}: choose another model.")


def packing(point: dict) -> Packing:
    """How the trees of a point are laid side by side."""
    widest = point["questions"] * point["question"] if point["way"] == "packed" else 0
    return Packing(widest, 1 if point["way"] == "one by one" else point["budget"], has_stem=False)


def prompts(point: dict, trees: int, vocabulary: int, seed: int, asked: int) -> list[Encoded]:
    """Random ids: `trees` paragraphs, no two alike, with all their questions of `asked` tokens."""
    random, low = np.random.default_rng(seed), min(FIRST, vocabulary // 2)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(random.integers(low, vocabulary, n).tolist())

    paragraphs = [ids(point["paragraph"]) for _ in range(trees)]
    return [Encoded(paragraph, ids(asked)) for paragraph in paragraphs for _ in range(point["questions"])]


def _works(lm: LanguageModel, point: dict, trees: int, seed: int) -> dict[str, Callable[[], object]]:
    """Training and evaluation on rows of the same length, for both have answers or longer questions."""
    vocabulary = lm.causal.config.get_text_config().vocab_size
    learnt = prompts(point, trees, vocabulary, seed, point["question"] - len(ANSWER) + 1)
    lessons = [train.Lesson(prompt, ANSWER) for prompt in learnt]
    read = prompts(point, trees, vocabulary, seed, point["question"])
    way = packing(point)
    with_what = attention.to_learn_with(lm, point["budget"])
    return {"train": partial(_train, lm, lessons, way, with_what), "evaluate": partial(_evaluate, lm, read, way)}


def _train(lm: LanguageModel, lessons: list[train.Lesson], way: Packing, with_what: str) -> None:
    """What an optimizer step does before the optimizer: each pass forward and backward."""
    lm.model.zero_grad(set_to_none=True)
    targets = sum(len(lesson.answer) for lesson in lessons)
    for layout in train.lay_out_lessons(lm, lessons, way):
        mixed = torch.autocast(lm.device.type, torch.bfloat16, load.trains_mixed(lm))
        with mixed, attention.switched(lm, with_what):
            loss = train.answer_loss(lm, layout.to(lm.device)) / targets
        loss.backward()


def _evaluate(lm: LanguageModel, read: list[Encoded], way: Packing) -> np.ndarray:
    """Probabilities of two labels after each question, by the base."""
    with lm.zero_shot():
        return score.label_scores(lm, read, LABELS, packing=way)


def _meet(meeting: dict | None, turn: int) -> None:
    """Wait until all `n` processes that share `folder` have come to this turn. Raises TimeoutError if one does not."""
    if meeting is None:
        return
    folder, begin = Path(meeting["folder"]), time.monotonic()
    (folder / f"{turn}-{os.getpid()}").touch()
    while len(list(folder.glob(f"{turn}-*"))) < meeting["n"]:
        if time.monotonic() - begin > PATIENCE:
            raise TimeoutError("The process beside this one did not come to its next turn.")
        time.sleep(0.001)
