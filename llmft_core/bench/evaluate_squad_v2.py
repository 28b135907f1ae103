"""Greedy answers and P(no answer) of SQuAD v2: one pass over prompt trees against two kinds of harness requests."""

import tempfile
import time
from pathlib import Path

from llmft_core import models, runs, tasks
from llmft_core.bench import duel, harness, questions, shapes

TITLE = "evaluation on SQuAD v2: greedy answers, and the log-probability of the abstention"
DEFAULTS = {"model": "mini", "examples": 1000, "rounds": 3}
TUNED = "squad-v2-mini-lora"  # the run that ships, for `mini`: an untuned model seldom ends its answer
RANDOM_TOKENS = 5  # that a model with random weights writes: it never stops by itself
WRITE, SCORE = "generate_until", "loglikelihood"
CLOSE = 1e-3  # two log-probabilities that are as near are equal
table = duel.table


def run(options: dict, say) -> dict:
    """The report. Which batch sizes suit the harness is found first, and that time does not count."""
    fight = duel.Duel(f"{__name__}:ours", f"{__name__}:theirs", harness.AGAINST, agreement, harness.NEEDS, gap)
    duel.refuse_missing("evaluate-squad_v2", fight)
    request = {name: value for name, value in options.items() if name != "rounds"}
    with tempfile.TemporaryDirectory() as made:
        if options["model"] == models.find("mini").source:
            adapter = runs.SHIPPED / TUNED / "adapter"
            merge = {"model": options["model"], "adapter": str(adapter), "out": made}
            duel.take_turn(f"{__name__}:merged", merge)
            request["model"] = made
            say(f"mini with what {TUNED} learnt, as one checkpoint")
        request |= {"random": shapes.is_random(options["model"])}
        request["sizes"] = duel.take_turn(f"{__name__}:trial", request, is_ours=False).results
        say(f"{harness.AGAINST}, fastest batch sizes: {request['sizes']}")
        report = duel.fight("evaluate-squad_v2", fight, request, options["rounds"], say)
    return report | {"request": request | {"model": options["model"]}}


def agreement(ours: dict, theirs: dict) -> float:
    """Share of questions to which both give the same answer."""
    same = [one == other for one, other in zip(ours["answers"], theirs["answers"], strict=True)]
    return sum(same) / len(same)


def gap(ours: dict, theirs: dict) -> float:
    """The largest difference between two log-probabilities of the abstention."""
    return max(abs(a - b) for a, b in zip(ours["logp"], theirs["logp"], strict=True))


def merged(request: dict) -> tuple[float, int, str, dict]:
    """A side that puts an adapter into its base and saves the two as a plain checkpoint.

    The head gets weights of its own first: an adapter on the input embeddings leaves it as it is.
    """
    import torch

    from llmft_core.engine import load

    lm = load.load(request["model"], adapter=Path(request["adapter"]))
    head = lm.causal.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    lm.causal.config.tie_word_embeddings = False
    lm.model.merge_and_unload().save_pretrained(request["out"])
    lm.tokenizer.save_pretrained(request["out"])
    return 0.0, 1, request["out"], {}


def ours(request: dict) -> tuple[float, int, dict, dict]:
    """A side: answers and log-probabilities by the engine, from one pass over each paragraph."""
    import numpy as np

    from llmft_core.engine import evaluate, load, score
    from llmft_core.engine.prompts import Prompter

    task = tasks.find("squad_v2")
    asked, _ = questions.examples(task, request)
    lm = load.load(request["model"])
    prompter = Prompter(lm.tokenizer)
    is_random = request["random"]
    new, stops = (RANDOM_TOKENS, set()) if is_random else (task.max_new_tokens, None)
    start = time.perf_counter()
    encoded = evaluate.encode(task, prompter, asked, lm.context)
    written = score.write(lm, prompter, encoded, new, task.abstention, stops=stops)
    seconds = time.perf_counter() - start
    questions.refuse_cut(encoded)
    answers = [prompter.write(list(each.ids)) if is_random else each.text for each in written]
    logp = [float(np.log(each.p_no_answer)) for each in written]
    about = {"trees": lm.bears_trees, "tokens_written": sum(len(each.ids) for each in written)}
    return seconds, len(asked), {"answers": answers, "logp": logp}, about


def theirs(request: dict) -> tuple[float, int, dict, dict]:
    """A side: the same by the harness, one request of each kind for each question."""
    model, asked, pairs, ids = _laid_out(request)
    if request["random"]:
        model.model.generation_config.eos_token_id = None
    kinds, sizes = _requests(pairs, request), request["sizes"]
    start = time.perf_counter()
    answers, scored = (harness.answers(model, kind, kinds[kind], sizes[kind]) for kind in (WRITE, SCORE))
    seconds = time.perf_counter() - start
    harness.refuse_other_ids(model, pairs, ids)
    return seconds, len(asked), {"answers": answers, "logp": [logp for logp, _ in scored]}, {"batch_sizes": sizes}


def trial(request: dict) -> tuple[float, int, dict, dict]:
    """A side that finds the batch sizes with which the harness is fastest."""
    model, asked, pairs, _ = _laid_out(request)
    kinds = _requests([pairs[index] for index in harness.typical([context for context, _ in pairs])], request)
    works = {kind: lambda size, kind=kind: harness.answers(model, kind, kinds[kind], size) for kind in kinds}
    return 0.0, len(asked), harness.fastest(works)[0], {}


def _requests(pairs: list[tuple[str, str]], request: dict) -> dict[str, list]:
    task = tasks.find("squad_v2")
    until = {"until": ["\n"], "max_gen_toks": task.max_new_tokens}
    settings = {"until": [], "max_gen_toks": RANDOM_TOKENS} if request["random"] else until
    contexts = [(context, settings | {"do_sample": False}) for context, _ in pairs]
    return {WRITE: harness.requests(WRITE, contexts), SCORE: harness.requests(SCORE, pairs)}


def _laid_out(request: dict):
    """The harness's model, the questions, and of each its prompt with the abstention after it, as texts and as ids."""
    from llmft_core.engine.prompts import Prompter

    task = tasks.find("squad_v2")
    asked, _ = questions.examples(task, request)
    model = harness.harness(request["model"])
    prompter = Prompter(model.tokenizer)
    prompts = questions.prompts(task, asked)
    abstention = prompter.space + task.abstention + model.tokenizer.eos_token
    pairs = [("".join(prompter.text(prompt)), abstention) for prompt in prompts]
    ids = [(prompter.encode(prompt).ids, prompter.answer(task.abstention)) for prompt in prompts]
    return model, asked, pairs, ids
