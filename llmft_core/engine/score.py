"""Answers and their probabilities: label scores, greedy answers, P(no answer), read from prompt trees."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from llmft_core.engine import greedy
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded, Prompter
from llmft_core.engine.reading import inputs, logits_at, passes_after_stem
from llmft_core.engine.tree import PACKED, Layout, Packing

TOKENS_AT_ONCE = {"cpu": 1024, "mps": 8192, "cuda": 32768}  # padded tokens per forward pass; few stay in a CPU's cache
REMEMBERED = {"cpu": 16384, "mps": 8192, "cuda": 32768}  # tokens of trees that are answered in step


class Written(NamedTuple):
    """A greedy answer: its ids, its text, and the probability of the abstention string (None if the task has none)."""

    ids: tuple[int, ...]
    text: str
    p_no_answer: float | None


def tokens_at_once(lm: LanguageModel) -> int:
    """Padded tokens that its device reads in one pass."""
    return TOKENS_AT_ONCE.get(lm.device.type, 4096)


@torch.inference_mode()
def label_scores(
    lm: LanguageModel,
    prompts: Sequence[Encoded],
    labels: Sequence[tuple[int, ...]],
    tick: Callable[[int], None] = lambda done: None,
    packing: Packing = PACKED,
) -> np.ndarray:
    """Log-probabilities [n, labels] of each label as the whole continuation of each prompt, normalised over the labels.

    Labels of one token need only their own rows of the head; longer ones are summed over their tokens.
    """
    if all(len(label) == 1 for label in labels):
        tokens = torch.tensor([label[0] for label in labels], device=lm.device)
        scores, done = np.zeros((len(prompts), len(labels))), 0
        for layout, past in passes_after_stem(lm, prompts, [()] * len(prompts), packing, tokens_at_once(lm)):
            rows, columns = _ends(layout)
            called = inputs(lm, layout.to(lm.device)) | remembering(layout, past)
            scores[list(layout.ends)] = logits_at(lm, rows, columns, tokens, **called).cpu().numpy()
            done += len(layout.ends)
            tick(done)
    else:
        scores = leaf_scores(lm, prompts, [tuple(labels)] * len(prompts), tick, packing)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


@torch.inference_mode()
def leaf_scores(
    lm: LanguageModel,
    prompts: Sequence[Encoded],
    leaves: Sequence[tuple[tuple[int, ...], ...]],
    tick: Callable[[int], None] = lambda done: None,
    packing: Packing = PACKED,
) -> np.ndarray:
    """Summed log-probabilities [n, leaves] of whole continuations; every prompt has the same number of leaves."""
    scores, done = np.zeros((len(prompts), len(leaves[0]))), set()
    for layout, past in passes_after_stem(lm, prompts, leaves, packing, tokens_at_once(lm)):
        layout = layout.to(lm.device)
        target, called = layout.targets, inputs(lm, layout) | remembering(layout, past)
        logits = logits_at(lm, target["row"], target["column"], **called)
        add_leaf_scores(layout, logits, scores)
        done |= layout.ends.keys()
        tick(len(done))
    return scores


def remembering(layout: Layout, past) -> dict:
    """How a pass is called that only reads: after its stem, if it has one, and remembering nothing otherwise."""
    return {"past_key_values": past, "use_cache": True} if layout.stem else {"use_cache": False}


def add_leaf_scores(layout: Layout, logits: torch.Tensor, scores: np.ndarray) -> None:
    """Add log p(token | before) of every target to `scores[key, leaf]`; `logits` are those of the targets."""
    target = layout.targets
    chosen = logits.gather(1, target["token"][:, None])[:, 0] - logits.logsumexp(1)
    np.add.at(scores, (target["key"].cpu().numpy(), target["leaf"].cpu().numpy()), chosen.double().cpu().numpy())


@torch.inference_mode()
def write(
    lm: LanguageModel,
    prompter: Prompter,
    prompts: Sequence[Encoded],
    max_new_tokens: int,
    abstention: str = "",
    tick: Callable[[int], None] = lambda done: None,
    stops: set[int] | None = None,
    packing: Packing = PACKED,
) -> list[Written]:
    """Greedy answers, each up to a line break, the end of sequence, or `max_new_tokens`.

    Questions of one paragraph share its keys and values; many trees are decoded at once, and a finished branch leaves.
    P(no answer) is the probability of the whole abstention string (with its end), from the same pass over the prompt.
    """
    stops = stop_ids(lm, prompter) if stops is None else stops
    leaves = [(prompter.answer(abstention),) if abstention else ()] * len(prompts)
    if lm.bears_trees:
        found, logp = _write_on_trees(lm, prompts, leaves, max_new_tokens, stops, tick, packing)
    else:
        found = greedy.row_by_row(lm, prompts, max_new_tokens, stops, packing.tokens or tokens_at_once(lm), tick)
        logp = leaf_scores(lm, prompts, leaves, packing=packing) if abstention else None
    answers = []
    for key in range(len(prompts)):
        text = prompter.write(found[key]).split("\n")[0]
        answers.append(Written(tuple(found[key]), text, float(np.exp(logp[key, 0])) if abstention else None))
    return answers


def _write_on_trees(lm, prompts, leaves, max_new_tokens, stops, tick, packing) -> tuple[dict, np.ndarray]:
    """Greedy ids per key, and the summed log-probability of the one leaf on each prompt."""
    found: dict[int, list[int]] = {}
    logp, most = np.zeros((len(prompts), 1)), packing.tokens or REMEMBERED.get(lm.device.type, 4096)
    waiting: list[greedy.Unwritten] = []

    def heard() -> None:
        tick(len(found))

    def answer_all() -> None:
        if waiting:
            found.update(greedy.in_step(lm, greedy.Unwritten.joined(waiting), max_new_tokens, stops, heard))
            waiting.clear()

    for layout, past in passes_after_stem(lm, prompts, leaves, packing, tokens_at_once(lm)):
        layout = layout.to(lm.device)
        memory = greedy.Memory.of(layout, past)
        target, ends = layout.targets, [torch.from_numpy(end).to(lm.device) for end in _ends(layout)]
        rows, columns = (torch.cat(pair) for pair in zip((target["row"], target["column"]), ends, strict=True))
        called = inputs(lm, layout)
        logits = logits_at(lm, rows, columns, **called, past_key_values=memory.cache, use_cache=True)
        hung = len(target["row"])
        add_leaf_scores(layout, logits[:hung], logp)
        best = logits.argmax(-1).cpu().numpy()
        del logits
        found |= foretold(layout, best[:hung], max_new_tokens, stops)
        if layout.ends.keys() - found.keys():
            waiting.append(greedy.Unwritten.of(layout, memory, best[hung:], found))
        if sum(part.memory.branch.numel() for part in waiting) >= most:
            answer_all()
        tick(len(found))
    answer_all()
    tick(len(found))
    return found, logp


def foretold(layout: Layout, best: np.ndarray, max_new_tokens: int, stops: set[int]) -> dict[int, list[int]]:
    """Greedy ids of the keys whose leaf is what they would write: each of its tokens is `best` after those before it.

    Whoever abstains has been read to the end by the pass that scores the abstention.
    """
    leaves: dict[int, list[int]] = {}
    wrong = set()
    for key, token, predicted in zip(*(layout.targets[name].tolist() for name in ("key", "token")), best, strict=True):
        leaves.setdefault(key, []).append(token)
        wrong |= set() if token == predicted else {key}
    return {
        key: leaf
        for key, leaf in leaves.items()
        if key not in wrong and len(leaf) <= max_new_tokens and leaf[-1] in stops and not stops & set(leaf[:-1])
    }


def _ends(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the last token of each question, in the order of `layout.ends`."""
    where = np.array(list(layout.ends.values()))
    return where[:, 0], where[:, 1]


def end_ids(lm: LanguageModel) -> set[int]:
    """Ids that end whatever this model writes: the tokenizer's end of sequence and those of its generation config."""
    extra = lm.causal.generation_config.eos_token_id if lm.causal.generation_config else None
    return {lm.tokenizer.eos_token_id, *([extra] if isinstance(extra, int) else extra or ())}


def stop_ids(lm: LanguageModel, prompter: Prompter) -> set[int]:
    """Ids after which an answer to a task is over: the end, and every token that holds a line break."""
    return end_ids(lm) | prompter.line_breaks()
