"""Answers and their probabilities, read from prompt trees: label scores, greedy answers, P(no answer)."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from llmft_core.engine.load import LanguageModel
from llmft_core.engine.prompts import Encoded, Prompter
from llmft_core.engine.tree import PACKED, Layout, Packing, batches, grow, head, hidden_states, lay_out, masks, sees

TOKENS_AT_ONCE = {"cpu": 4096, "mps": 8192, "cuda": 32768}  # padded tokens per forward pass


class Written(NamedTuple):
    """A greedy answer: its ids, its text, and the probability of the abstention string (None if the task has none)."""

    ids: tuple[int, ...]
    text: str
    p_no_answer: float | None


def passes(lm: LanguageModel, prompts, leaves, packing: Packing) -> Iterator[Layout]:
    """The prompts as layouts on the model's device, one for each forward pass."""
    tokens = packing.tokens or TOKENS_AT_ONCE.get(lm.device.type, 4096)
    for batch in batches(grow(prompts, leaves, packing.widest), tokens):
        yield lay_out(batch, lm.tokenizer.pad_token_id).to(lm.device)


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
        rows = torch.tensor([label[0] for label in labels], device=lm.device)
        scores, done = np.zeros((len(prompts), len(labels))), 0
        for layout in passes(lm, prompts, [()] * len(prompts), packing):
            hidden = hidden_states(lm, layout)
            keys, where = list(layout.ends), np.array(list(layout.ends.values()))
            scores[keys] = head(lm, hidden[where[:, 0], where[:, 1]], rows).cpu().numpy()
            done += len(keys)
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
    scores, done = np.zeros((len(prompts), len(leaves[0]))), 0
    for layout in passes(lm, prompts, leaves, packing):
        add_leaf_scores(lm, layout, hidden_states(lm, layout), scores)
        done += len(layout.ends)
        tick(done)
    return scores


def add_leaf_scores(lm: LanguageModel, layout: Layout, hidden: torch.Tensor, scores: np.ndarray) -> None:
    """Add log p(token | before) of every target to `scores[key, leaf]`."""
    target = layout.targets
    logits = head(lm, hidden[target["row"], target["column"]])
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
    leaf = (prompter.answer(abstention),) if abstention else ()
    found: dict[int, list[int]] = {}
    logp = np.zeros((len(prompts), 1))
    for layout in passes(lm, prompts, [leaf] * len(prompts), packing):
        cache = (
            DynamicCache()
        )  # made without the config on purpose: sliding layers keep all keys, the mask does the rest
        hidden = hidden_states(lm, layout, cache)
        if abstention:
            add_leaf_scores(lm, layout, hidden, logp)
        found |= decode(lm, layout, hidden, cache, max_new_tokens, stops)
        tick(len(found))
    answers = []
    for key in range(len(prompts)):
        text = prompter.write(found[key]).split("\n")[0]
        answers.append(Written(tuple(found[key]), text, float(np.exp(logp[key, 0])) if abstention else None))
    return answers


def end_ids(lm: LanguageModel) -> set[int]:
    """Ids that end whatever this model writes: the tokenizer's end of sequence and those of its generation config."""
    extra = lm.causal.generation_config.eos_token_id if lm.causal.generation_config else None
    return {lm.tokenizer.eos_token_id, *([extra] if isinstance(extra, int) else extra or ())}


def stop_ids(lm: LanguageModel, prompter: Prompter) -> set[int]:
    """Ids after which an answer to a task is over: the end, and every token that holds a line break."""
    return end_ids(lm) | prompter.line_breaks()


def decode(
    lm, layout: Layout, hidden: torch.Tensor, cache: DynamicCache, max_new_tokens: int, stops: set[int]
) -> dict[int, list[int]]:
    """Greedy ids per key, all branches of all rows in step; the keys and values of the prompt are in `cache`.

    Each step feeds one token per live branch, as a ragged batch [rows, live branches]; rows without any are dropped.
    """
    keys = list(layout.ends)
    rows, columns = (np.array(side) for side in zip(*layout.ends.values(), strict=True))
    branch_of = np.array([layout.branch_of[key] for key in keys])
    depth = layout.positions[rows, columns].cpu().numpy()
    token = head(lm, hidden[rows, columns]).argmax(-1).cpu().numpy()
    written: dict[int, list[int]] = {key: [] for key in keys}
    seen_branch, seen_leaf, seen_position = layout.branch, layout.leaf, layout.positions
    live = np.arange(len(keys))
    for step in range(max_new_tokens):
        for index in live:
            written[keys[index]].append(int(token[index]))
        live = np.array([index for index in live if int(token[index]) not in stops], dtype=int)
        if len(live) == 0 or step == max_new_tokens - 1:
            break
        kept = np.unique(rows[live])
        if len(kept) < seen_branch.shape[0]:
            chosen = torch.from_numpy(kept).to(lm.device)
            cache.batch_select_indices(chosen)
            seen_branch, seen_leaf, seen_position = (t[chosen] for t in (seen_branch, seen_leaf, seen_position))
            rows = np.searchsorted(kept, rows)  # rows of finished branches point anywhere; they are never read again
        slot = np.zeros(len(rows), dtype=int)
        counts = np.zeros(len(kept), dtype=int)
        for index in live:
            slot[index] = counts[rows[index]]
            counts[rows[index]] += 1
        shape = (len(kept), counts.max())
        ids, position = np.full(shape, lm.tokenizer.pad_token_id), np.zeros(shape, dtype=np.int64)
        branch = np.full(shape, -3)  # a free slot: it sees the prefix alone and nobody sees it
        at = (rows[live], slot[live])
        ids[at], position[at], branch[at] = token[live], depth[live] + 1 + step, branch_of[live]
        ids, position, branch = (
            torch.from_numpy(array.astype(np.int64)).to(lm.device) for array in (ids, position, branch)
        )
        trunk = torch.full_like(branch, -1)
        seen_branch, seen_leaf = torch.cat([seen_branch, branch], 1), torch.cat([seen_leaf, trunk], 1)
        seen_position = torch.cat([seen_position, position], 1)
        visible = sees(branch, trunk, seen_branch, seen_leaf)
        out = lm.causal.base_model(
            input_ids=ids,
            attention_mask=masks(lm, visible, position, seen_position),
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        token = token.copy()
        token[live] = head(lm, out[at]).argmax(-1).cpu().numpy()
    return written
