"""Everything that a run holds in memory: task, data, model, and how one side is examined."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from llmft_core import tasks
from llmft_core.config import RunConfig
from llmft_core.engine import data, evaluate, load, train
from llmft_core.engine.prompts import Prompter
from llmft_core.tasks.base import Example


class Lessons:
    """The examples of a run, split into train, probe and test, and the model that learns from them."""

    def __init__(self, config: RunConfig):
        self.config, self.task = config, tasks.find(config.task)
        self.data = data.load(
            self.task,
            split=config.split,
            data_dir=config.data_dir,
            data_file=config.data_file,
            seed=config.seed,
            train_examples=config.train_examples,
            eval_examples=config.eval_examples,
        )
        self.lm = load.load(config.model, full=config.method == "full")
        self.prompter = Prompter(self.lm.tokenizer)
        self.longest = min(config.max_length or self.lm.context, self.lm.context)
        self.probe, self.train = hold_out(self.data.train, config.probe_examples or 0, config.seed)

    def examine(self, examples: list[Example], tick: Callable[[int], None] = lambda done: None) -> pd.DataFrame:
        """Prediction rows of the model as it is now."""
        return evaluate.predict(self.lm, self.prompter, self.task, examples, self.longest, tick)

    def lessons(self) -> list[train.Lesson]:
        """The training examples as ids."""
        return train.lessons_of(self.task, self.prompter, self.train, self.longest)


def hold_out(examples: list[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """About `count` examples in whole groups to probe with, at most a fifth of all; and the rest, to learn from."""
    count = min(count, len(examples) // 5)
    if not count:
        return [], examples
    groups = list(dict.fromkeys(example.group for example in examples))
    rank = dict(
        zip((groups[i] for i in np.random.default_rng(seed).permutation(len(groups))), range(len(groups)), strict=True)
    )
    chosen, probe = set(), []
    for example in sorted(examples, key=lambda example: rank[example.group]):
        if len(probe) >= count and example.group not in chosen or len(probe) >= 2 * count:
            break
        chosen.add(example.group)
        probe.append(example)
    return probe, [example for example in examples if example.group not in chosen]
