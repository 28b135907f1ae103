"""Token ids for bench gpu: examples of --data-dir, or random ids as long as those of SQuAD v2 and SST-2."""

import numpy as np

from llmft_core import tasks
from llmft_core.engine import data, train
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded, Prompter

# Lengths in tokens of mini's tokenizer of the first 2,000 training rows: (median, spread of the logarithm).
LENGTHS = {
    "squad_v2": {"prefix": (192, 0.4), "question": (24, 0.2), "answer": (5, 0.6)},
    "sst2": {"prefix": (10, 0.0), "question": (15, 0.5), "answer": (2, 0.0)},
}
SHARE = {"squad_v2": 4, "sst2": 1_000_000}  # prompts that begin alike: 2,000 questions were about 540 paragraphs
FIRST = 1000  # ids below may be special


def lessons(lm: LanguageModel, task: str, request: dict) -> list[train.Lesson]:
    """What is learnt from, or put to the model: prompts with their answers."""
    if request.get("data_dir"):
        return _read(lm, task, request)
    return _made(task, request["examples"], request["seed"], lm.causal.config.get_text_config().vocab_size)


def _read(lm: LanguageModel, name: str, request: dict) -> list[train.Lesson]:
    task, prompter = tasks.find(name), Prompter(lm.tokenizer)
    found = data.load(task, data_dir=request["data_dir"], train_examples=request["examples"], eval_examples=1)
    return train.lessons_of(task, prompter, found.train, lm.context)


def _made(name: str, n: int, seed: int, vocabulary: int) -> list[train.Lesson]:
    random, lengths = np.random.default_rng(seed), LENGTHS[name]
    low = min(FIRST, vocabulary // 2)

    def ids(kind: str) -> tuple[int, ...]:
        median, spread = lengths[kind]
        length = max(2, round(median * float(np.exp(spread * random.standard_normal()))))
        return tuple(random.integers(low, vocabulary, length).tolist())

    found: list[train.Lesson] = []
    while len(found) < n:
        prefix = ids("prefix")
        for _ in range(min(SHARE[name], n - len(found))):
            found.append(train.Lesson(Encoded(prefix, ids("question")), ids("answer")))
    return found
