"""Whether a model computes in company what it computes alone: tried on a few tokens whenever one is loaded."""

import logging
import re
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from transformers import DynamicCache

from llmft_core.engine import greedy
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded
from llmft_core.engine.reading import follow, inputs, logits_at, passes
from llmft_core.engine.tree import FREE, PACKED, PREFIX, Layout

WORDS = "The fox ran over the hill, and because it was tired it slept there until somebody woke it."
NARROW = 4  # tokens that a sliding window is made for the trial, so that a few tokens meet it
KINDS = {"full_attention", "sliding_attention"}  # of layers, for which `reading.masks` has a mask
OTHER_WINDOW = re.compile(r"^(?!sliding_window$|use_sliding_window$|max_window_layers$|.*pattern$).*(window|chunk)")
ROUNDING = 1e-3  # of the spread of the logits: far more than float32 rounds, far less than a wrong mask does
log = logging.getLogger(__name__)


def checked(lm: LanguageModel) -> LanguageModel:
    """The model, knowing whether it bears prompt trees. Raises ValueError if it is exact in no company at all.

    A tree wants a model that heeds a 4-D mask and positions that restart; plain rows want one that looks back only.
    """
    prompts, leaves = _trial(lm)
    rows, failure = replace(lm, bears_trees=False), None
    with torch.inference_mode(), _narrow_window(lm):
        alone = _alone(lm, prompts, leaves)
        if any(each.isnan().any() for each in alone):  # infinities alone are how some mask a padded vocabulary
            raise ValueError(
                f"The weights of {lm.source} are not numbers: its training went astray; train again with a lower "
                "--learning-rate."
            )
        for way in (lm, rows) if _masks_are_known(lm) else (rows,):
            try:
                if not _is_exact(way, prompts, leaves, alone):
                    continue
            except Exception as error:  # whatever an architecture does with what it does not know
                failure = error
                continue
            if not way.bears_trees:
                log.warning("%s", slower(way))
            return way
    raise ValueError(
        f"{lm.source} ({lm.architecture}) gives other results among other prompts than alone, so nothing can be "
        "measured with it: choose a causal language model."
    ) from failure


def holds(lm: LanguageModel) -> bool:
    """Whether the way in which the model reads now computes in company what it computes alone."""
    prompts, leaves = _trial(lm)
    with torch.inference_mode(), _narrow_window(lm):
        try:
            return _is_exact(lm, prompts, leaves, _alone(lm, prompts, leaves))
        except Exception:  # whatever an architecture does with what it does not know
            return False


def slower(lm: LanguageModel) -> str:
    """What people are told about a model that bears no trees."""
    return f"Prompts cannot share a row in {lm.architecture}: each has a row of its own, as exact but slower."


def _masks_are_known(lm: LanguageModel) -> bool:
    """Whether `reading.masks` speaks of every kind of layer: a window of another name is wider than the trial."""
    config = lm.causal.config.get_text_config()
    others = [name for name, value in config.to_dict().items() if OTHER_WINDOW.match(name) and value]
    return set(getattr(config, "layer_types", None) or ()) <= KINDS and not others


@contextmanager
def _narrow_window(lm: LanguageModel):
    """In this block a sliding window is narrower than the trial is long."""
    config = lm.causal.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window:
        config.sliding_window = min(window, NARROW)
    try:
        yield
    finally:
        if window:
            config.sliding_window = window


def _trial(lm: LanguageModel) -> tuple[list[Encoded], list[tuple[tuple[int, ...], ...]]]:
    """Three prompts, two of which begin alike, and two things that may follow each; of unlike length, to be padded."""
    ids = lm.tokenizer(WORDS, add_special_tokens=False)["input_ids"]
    ids = tuple(ids * (1 + 30 // len(ids)))
    prompts = [Encoded(ids[:6], ids[6:15]), Encoded(ids[:6], ids[9:12]), Encoded(ids[3:6], ids[:5])]
    return prompts, [(ids[15:18], ids[20:23]), (ids[18:20], ids[15:17]), (ids[22:25], ids[2:5])]


def _alone(lm: LanguageModel, prompts, leaves) -> list[torch.Tensor]:
    """Of each prompt the logits [leaves, n, V] before every token of what follows it, read plainly."""
    found = []
    for prompt, hung in zip(prompts, leaves, strict=True):
        ids = torch.tensor([prompt.ids + leaf for leaf in hung], device=lm.device)
        found.append(lm.causal(input_ids=ids, use_cache=False).logits[:, len(prompt.ids) - 1 : -1].float())
    return found


def _is_exact(lm: LanguageModel, prompts, leaves, alone: list[torch.Tensor]) -> bool:
    """Whether the engine computes the same, side by side and one step on from there, but for rounding."""
    (layout,) = passes(lm, prompts, leaves, PACKED, 10_000)
    layout = layout.to(lm.device)
    called, wanted = inputs(lm, layout), torch.cat([each.flatten(0, 1) for each in alone])
    if lm.bears_trees:
        memory = greedy.Memory.of(layout, DynamicCache())
        found = _at_targets(lm, layout, called | {"past_key_values": memory.cache, "use_cache": True})
        step = _step_on(lm, layout, greedy.Memory.joined([memory]), leaves)
        right = torch.stack([each[0, 1] for each in alone])
    else:
        found = _at_targets(lm, layout, called)
        step, right = _follow_on(lm, prompts[0].ids, leaves[0]), alone[0][:, 1]
    gap = torch.maximum(_gap(found, wanted), _gap(step, right))
    return bool(gap <= _rounding(lm, layout, called, wanted))


def _at_targets(lm: LanguageModel, layout: Layout, called: dict) -> torch.Tensor:
    """Logits before every token of every leaf, in the order of `_alone`."""
    target = layout.targets
    order = np.lexsort((target["leaf"].cpu(), target["key"].cpu()))
    return logits_at(lm, target["row"], target["column"], **({"use_cache": False} | called))[order]


def _step_on(lm: LanguageModel, layout: Layout, memory: greedy.Memory, leaves) -> torch.Tensor:
    """Logits after the first token of the first leaf of each prompt, read as one more token of its branch."""
    keys = sorted(layout.ends)
    rows = np.array([layout.ends[key][0] for key in keys])
    slots = np.array([layout.branch_of[key] for key in keys])
    shape = (rows.max() + 1, slots.max() + 1)
    ids, positions, branch = np.zeros(shape), np.zeros(shape), np.full(shape, FREE)
    ids[rows, slots], branch[rows, slots] = [leaves[key][0][0] for key in keys], slots
    positions[rows, slots] = [int(layout.positions[layout.ends[key]]) + 1 for key in keys]
    return memory.read(lm, ids, positions, branch, rows, slots)


def _follow_on(lm: LanguageModel, ids: tuple[int, ...], hung) -> torch.Tensor:
    """Logits after the first token of each leaf of a prompt, read after what is remembered of it."""
    _, past = follow(lm, torch.tensor([ids] * len(hung), device=lm.device), {})
    return follow(lm, torch.tensor([leaf[:1] for leaf in hung], device=lm.device), past)[0]


def _gap(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Root mean square over the vocabulary, at the place where it is largest."""
    finite = wanted.isfinite().all(0)  # some mask the end of a padded vocabulary
    return (found - wanted)[:, finite].square().mean(1).sqrt().max()


def _rounding(lm: LanguageModel, layout: Layout, called: dict, wanted: torch.Tensor) -> torch.Tensor:
    """The largest gap that counts as rounding.

    How much half precision rounds depends on the model, so there it is a quarter of what a tree makes that is read
    wrongly on purpose: as if the model did not heed its mask, or its positions.
    """
    spread, eps = wanted[:, wanted.isfinite().all(0)].std(1).mean(), torch.finfo(lm.causal.dtype).eps
    if eps < ROUNDING / 100 or not lm.bears_trees:
        return max(ROUNDING, 16 * eps) * spread
    shared = replace(layout, branch=layout.branch.clamp(max=PREFIX))
    places = torch.arange(layout.ids.shape[1], device=lm.device).expand_as(layout.ids)
    mistakes = ({"attention_mask": inputs(lm, shared)["attention_mask"]}, {"position_ids": places})
    return min(_gap(_at_targets(lm, layout, called | mistake), wanted) for mistake in mistakes) / 4
