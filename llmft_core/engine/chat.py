"""Both sides of a pair answer the same input: the base and what fine-tuning made of it, token by token."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from llmft_core.engine import load, threads
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Prompter
from llmft_core.engine.reading import follow
from llmft_core.engine.side_by_side import SideBySide

SIDES = ("zero_shot", "fine_tuned")
PROBE = "The fox ran over the hill."


@dataclass
class Pair:
    """A base model and its fine-tuned self: one model with an adapter, two after full fine-tuning, or the base."""

    base: LanguageModel
    tuned: LanguageModel | None
    prompter: Prompter
    proof: dict[str, bool]
    together: SideBySide | None = None  # if both sides can answer in one pass

    @property
    def sides(self) -> tuple[str, ...]:
        return SIDES if self.tuned else SIDES[:1]

    @contextmanager
    def side(self, name: str) -> Iterator[LanguageModel]:
        """The language model of one side; only inside the block is it sure to be that side."""
        if name == "fine_tuned":
            yield self.tuned
        else:
            with self.base.zero_shot() as lm:
                yield lm

    def voices(self, prompts: dict[str, list[int]]) -> list[tuple[str, ...]]:
        """The sides that answer these prompts, those together that share a pass: rows must be of equal length."""
        if self.together and tuple(prompts) == SIDES and len(set(map(len, prompts.values()))) == 1:
            return [SIDES]
        return [(side,) for side in prompts]

    @contextmanager
    def voice(self, sides: tuple[str, ...]) -> Iterator[LanguageModel]:
        """The language model that answers for these sides, a row each."""
        with self.together.reading() if len(sides) > 1 else self.side(*sides) as lm:
            yield lm


def open_pair(model: str, adapter: Path | None = None, tuned: Path | None = None) -> Pair:
    """Load a base with a LoRA folder (`adapter`) or a full fine-tune (`tuned`), and prove that the sides are right.

    `proof` holds only what was compared: a base that is loaded alone has nothing to be compared with.
    Raises ValueError if the base under an adapter does not equal a plain load, or the fine-tuned side equals the base.
    """
    base = load.load(model)
    prompter = Prompter(base.tokenizer)
    plain = _probe(base)
    if adapter is None and tuned is None:
        return Pair(base, None, prompter, {})
    if adapter is None:
        pair = Pair(base, load.load(str(tuned)), prompter, {})
    else:
        both = load.with_adapter(base, adapter)
        pair = Pair(both, both, prompter, {})
        with pair.side("zero_shot") as lm:
            pair.proof["base_equal"] = torch.equal(plain, _probe(lm))
    changed = _probe(pair.tuned)
    pair.proof["tuned_differs"] = not torch.equal(plain, changed)
    if adapter is not None:
        together = SideBySide(pair.base)
        pair.together = together if together.is_exact(_probe_ids(base), plain, changed) else None
    if not pair.proof.get("base_equal", True):
        raise ValueError(
            "The zero-shot side differs from the base model as it loads alone; this run cannot be compared."
        )
    if not pair.proof["tuned_differs"]:
        raise ValueError("The fine-tuned side answers exactly like the base: its adapter is empty or was not loaded.")
    return pair


@torch.inference_mode()
def _probe(lm: LanguageModel) -> torch.Tensor:
    with threads.one():
        return lm.model(_probe_ids(lm)).logits[0, -1].float().cpu()


def _probe_ids(lm: LanguageModel) -> torch.Tensor:
    return torch.tensor([lm.tokenizer(PROBE)["input_ids"]], device=lm.device)


@torch.inference_mode()
def speak(lm: LanguageModel, past: dict, rows: list[list[int]]) -> tuple[list[int], dict]:
    """The most probable id after each row of ids, which follow what is in `past`; and what is remembered then."""
    logits, past = follow(lm, torch.tensor(rows, device=lm.device), past)
    return logits.argmax(-1).tolist(), past


def stream(
    pair: Pair,
    prompts: dict[str, list[int]],
    max_new_tokens: int,
    stops: set[int],
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, list[int]]]:
    """Greedy ids of each side so far, the sides in turn after every token; ends when all have stopped.

    `prompts[side]` are the ids that this side reads. A stopping id is not part of the answer. Sides that share a pass
    go on in step: one that is over is read on unheard, which costs less than to take its memory apart.
    """
    voices = pair.voices(prompts)
    pasts: dict[tuple[str, ...], dict] = {voice: {} for voice in voices}
    feed = {side: list(ids) for side, ids in prompts.items()}
    written: dict[str, list[int]] = {side: [] for side in prompts}
    live = set(prompts)
    for _ in range(max_new_tokens):
        for voice in [voice for voice in voices if live & set(voice)]:
            with pair.voice(voice) as lm:
                tokens, pasts[voice] = speak(lm, pasts[voice], [feed[side] for side in voice])
            for side, token in zip(voice, tokens, strict=True):
                feed[side] = [token]
                if side in live and token in stops:
                    live.remove(side)
                if side in live:
                    written[side].append(token)
                    yield side, written[side]
        if not live or should_stop():
            return


def conversation(pair: Pair, messages: list[dict[str, str]]) -> list[int]:
    """Ids of a chat up to the point where the model answers: its chat template, or a plain transcript without one.

    The oldest turns are dropped when the conversation is longer than the model's context.
    """
    tokenizer = pair.base.tokenizer
    for start in range(len(messages)):
        turns = messages[start:]
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        else:
            names = {"user": "User", "assistant": "Assistant", "system": "System"}
            text = "".join(f"{names.get(turn['role'], 'User')}: {turn['content']}\n" for turn in turns) + "Assistant:"
            ids = tokenizer(text)["input_ids"]
        if len(ids) < pair.base.context - 32:
            return ids
    raise ValueError("The message is longer than the model can read; shorten it.")
