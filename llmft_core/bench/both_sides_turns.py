"""The two sides of the bench `try`, inside their children. Neither ends at an end of sequence: every answer is as long.

Loading is not timed. Both compute in our device and precision, one question at a time, as it comes from a visitor.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from llmft_core import tasks
from llmft_core.engine import chat, evaluate, load
from llmft_core.engine.prompts import Prompter

ASKED = "squad_v2"
LONGEST = 400  # tokens of a question with its paragraph


def ours(request: dict) -> tuple[float, int, list[list[int]], dict]:
    """The playground's stream: one model, and both sides in one pass if that is exact."""
    pair = chat.open_pair(request["model"], adapter=Path(request["adapter"]))
    asked = _questions(pair.base.tokenizer, request)

    def answer(ids: list[int], sides: tuple[str, ...]) -> list[list[int]]:
        written: dict[str, list[int]] = {}
        for side, tokens in chat.stream(pair, dict.fromkeys(sides, ids), request["tokens"], set()):
            written[side] = tokens
        return [written[side] for side in sides]

    both, one = (lambda ids: answer(ids, chat.SIDES)), (lambda ids: answer(ids, chat.SIDES[1:]))
    return _timed(asked, both, one, in_one_pass=pair.together is not None)


def theirs(request: dict) -> tuple[float, int, list[list[int]], dict]:
    """Two models: `generate` with the plain one, then with the one under the adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = load.pick_device()
    dtype = load.pick_dtype(device, full=False)
    source = load.resolve(request["model"])
    plain, tuned = (AutoModelForCausalLM.from_pretrained(source, dtype=dtype).to(device).eval() for _ in range(2))
    plain.generation_config.eos_token_id = tuned.generation_config.eos_token_id = None
    tuned = PeftModel.from_pretrained(tuned, request["adapter"]).eval()
    asked = _questions(AutoTokenizer.from_pretrained(source), request)

    def answer(model, ids: list[int]) -> list[int]:
        read = torch.tensor([ids], device=device)
        found = model.generate(
            input_ids=read, attention_mask=torch.ones_like(read), do_sample=False, use_cache=True,
            max_new_tokens=request["tokens"], pad_token_id=0,
        )  # fmt: skip
        return found[0, len(ids) :].tolist()

    return _timed(asked, lambda ids: [answer(plain, ids), answer(tuned, ids)], lambda ids: [answer(tuned, ids)])


def _questions(tokenizer, request: dict) -> list[list[int]]:
    """Ids of the first `n` questions of our own."""
    task, prompter = tasks.find(ASKED), Prompter(tokenizer)
    examples = [task.to_example(row) for row in task.samples()[1][: request["n"]]]
    return [list(encoded.ids) for encoded in evaluate.encode(task, prompter, examples, LONGEST)]


def _timed(asked: list[list[int]], both: Callable, one: Callable, **about) -> tuple[float, int, list[list[int]], dict]:
    """Seconds of `both` over all questions, how many, every answer, and how that compares with `one`, taken between."""
    both(asked[0]), one(asked[0])
    seconds, answers = {both: 0.0, one: 0.0}, []
    for ids in asked:
        for way in (both, one):
            start = time.perf_counter()
            found = way(ids)
            seconds[way] += time.perf_counter() - start
            answers += found if way is both else []
    about |= {"one_side_seconds": round(seconds[one], 3), "over_one_side": round(seconds[both] / seconds[one], 2)}
    return seconds[both], len(asked), answers, about
