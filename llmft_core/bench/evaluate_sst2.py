"""Label log-probabilities of SST-2's official dev part: prompt trees against lm-evaluation-harness."""

import time

from llmft_core import tasks
from llmft_core.bench import duel, harness, questions

TITLE = "evaluation on SST-2: log-probabilities of both labels"
DEFAULTS = {"model": "mini", "examples": 872, "rounds": 5, "shots": 0}
KIND = "loglikelihood"
table = duel.table


def run(options: dict, say) -> dict:
    """The report. Which batch size suits the harness is found first, and its time does not count."""
    request = {name: value for name, value in options.items() if name != "rounds"}
    fight = duel.Duel(f"{__name__}:ours", f"{__name__}:theirs", harness.AGAINST, agreement, harness.NEEDS, gap)
    duel.refuse_missing("evaluate-sst2", fight)
    request["sizes"] = duel.take_turn(f"{__name__}:trial", request, is_ours=False).results
    say(f"{harness.AGAINST}, fastest batch size: {request['sizes'][KIND]}")
    return duel.fight("evaluate-sst2", fight, request, options["rounds"], say)


def agreement(ours: list, theirs: list) -> float:
    """Share of examples for which both prefer the same label."""
    same = [one.index(max(one)) == other.index(max(other)) for one, other in zip(ours, theirs, strict=True)]
    return sum(same) / len(same)


def gap(ours: list, theirs: list) -> float:
    """The largest difference between two log-probabilities, normalised over the labels."""
    return max(abs(a - b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True))


def ours(request: dict) -> tuple[float, int, list, dict]:
    """A side: log-probabilities [n, labels] by the engine."""
    from llmft_core.engine import evaluate, load, score
    from llmft_core.engine.prompts import Prompter

    task = tasks.find("sst2")
    asked, shots = questions.examples(task, request)
    lm = load.load(request["model"])
    prompter = Prompter(lm.tokenizer)
    start = time.perf_counter()
    room = evaluate.answer_room(task, prompter)
    encoded = prompter.encode_all(questions.prompts(task, asked, shots), lm.context, room)
    found = score.label_scores(lm, encoded, prompter.labels(task.labels))
    seconds = time.perf_counter() - start
    questions.refuse_cut(encoded)
    return seconds, len(asked), found.tolist(), {"trees": lm.bears_trees}


def theirs(request: dict) -> tuple[float, int, list, dict]:
    """A side: the same by the harness, two requests for each example."""
    import numpy as np

    task, model, asked, pairs, ids = _laid_out(request)
    requests, size = harness.requests(KIND, pairs), request["sizes"][KIND]
    start = time.perf_counter()
    found = harness.answers(model, KIND, requests, size)
    seconds = time.perf_counter() - start
    harness.refuse_other_ids(model, pairs, ids)
    scores = np.array([logp for logp, _ in found]).reshape(len(asked), len(task.labels))
    scores -= np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return seconds, len(asked), scores.tolist(), {"batch_size": size}


def trial(request: dict) -> tuple[float, int, dict, dict]:
    """A side that finds the batch size with which the harness is fastest."""
    task, model, asked, pairs, _ = _laid_out(request)
    labels = len(task.labels)
    chosen = [
        pairs[labels * i + j] for i in harness.typical([pair[0] for pair in pairs[::labels]]) for j in range(labels)
    ]
    requests = harness.requests(KIND, chosen)
    best, _ = harness.fastest({KIND: lambda size: harness.answers(model, KIND, requests, size)})
    return 0.0, len(asked), best, {}


def _laid_out(request: dict):
    """The task, the harness's model, the examples, and of each label of each its pair of texts and its ids."""
    from llmft_core.engine.prompts import Prompter

    task = tasks.find("sst2")
    asked, shots = questions.examples(task, request)
    model = harness.harness(request["model"])
    prompter = Prompter(model.tokenizer)
    prompts = questions.prompts(task, asked, shots)
    labels = list(zip(task.labels, prompter.labels(task.labels), strict=True))
    pairs = [("".join(prompter.text(prompt)), prompter.space + label) for prompt in prompts for label, _ in labels]
    ids = [(prompter.encode(prompt).ids, label) for prompt in prompts for _, label in labels]
    return task, model, asked, pairs, ids
