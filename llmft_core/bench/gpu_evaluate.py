"""Evaluation on a GPU, inside a child: SST-2's labels and SQuAD v2's answers, in prompt trees and in padded rows."""

import itertools
import time
from functools import partial

import torch

from llmft_core.bench import gpu_peak
from llmft_core.bench.gpu_lessons import lessons
from llmft_core.bench.gpu_train import WAYS
from llmft_core.engine import score
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Prompter
from llmft_core.engine.tree import Packing

WRITTEN = 6  # tokens of each answer: random weights never end one, and most of SQuAD's are no longer


def measure(request: dict) -> tuple[float, int, dict, dict]:
    """Examples per second of either task, each way; peak memory."""
    lm = gpu_peak.model_of(request, torch.bfloat16)
    prompter, ways = Prompter(lm.tokenizer), {}
    for task in ("sst2", "squad_v2"):
        prompts = [lesson.prompt for lesson in lessons(lm, task, request)]
        for way, packing in WAYS.items():
            ways[f"{task} {way}"] = partial(_for_a_while, lm, prompter, task, prompts, packing)
    found = gpu_peak.in_turn(ways, request["rounds"], request["budget"], lm.device)
    return sum(one["seconds"] for one in found.values() if isinstance(one, dict)), 1, {"ways": found}, {}


def _for_a_while(lm: LanguageModel, prompter: Prompter, task: str, prompts: list, way: Packing, budget: float) -> dict:
    """All prompts again and again until `budget` seconds are over, at least once; how many."""
    begin = time.perf_counter()
    for times in itertools.count(1):
        if task == "sst2":
            score.label_scores(lm, prompts, prompter.labels(("negative", "positive")), packing=way)
        else:
            score.write(lm, prompter, prompts, WRITTEN, "unanswerable", stops=set(), packing=way)
        if time.perf_counter() - begin >= budget:
            return {"examples": times * len(prompts)}
