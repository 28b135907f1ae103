"""lm-evaluation-harness as people use it (its `hf` back end), at the batch size that is fastest here, on our ids."""

import time
from collections.abc import Callable, Sequence

NEEDS = ("lm_eval",)
AGAINST = "lm-evaluation-harness"
# "auto" takes the largest that fits in memory, and no more than 64, after trial passes that would count as its work
SIZES = (1, 8, 16, 32, 64)
TRIES = 2  # of each size; the quicker one counts


def harness(folder: str):
    """Its model, on the device and in the precision that ours takes."""
    from lm_eval.models.huggingface import HFLM

    from llmft_core.engine import load

    device = load.pick_device()
    dtype = str(load.pick_dtype(device, full=False)).removeprefix("torch.")
    return HFLM(pretrained=folder, backend="causal", device=device.type, dtype=dtype, batch_size=1)


def requests(kind: str, arguments: Sequence[tuple]) -> list:
    """Its form of what it is asked: (context, continuation) for "loglikelihood", (context, settings) otherwise."""
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, index) for index, given in enumerate(arguments)]


def answers(model, kind: str, asked: list, size: int) -> list:
    """What it says, in the order of the requests, at a batch size."""
    model.batch_size_per_gpu = size
    return getattr(model, kind)(asked, disable_tqdm=True)


def fastest(kinds: dict[str, Callable[[int], object]]) -> tuple[dict[str, int], dict[str, dict[int, float]]]:
    """The batch size that does each kind of work in the least time, and the seconds of all."""
    tried: dict[str, dict[int, float]] = {}
    for kind, work in kinds.items():
        work(SIZES[-1])  # to warm up
        tried[kind] = {size: min(_seconds(work, size) for _ in range(TRIES)) for size in SIZES}
    return {kind: min(found, key=found.get) for kind, found in tried.items()}, tried


def _seconds(work: Callable[[int], object], size: int) -> float:
    start = time.perf_counter()
    work(size)
    return time.perf_counter() - start


def typical(texts: Sequence[str]) -> list[int]:
    """As many as the largest batch, from the middle when sorted by length: batches as unlike as those of all."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    first = max(0, (len(order) - SIZES[-1]) // 2)
    return order[first : first + SIZES[-1]]


def refuse_other_ids(model, pairs: Sequence[tuple[str, str]], ids: Sequence[tuple[tuple, tuple]]) -> None:
    """Raises ValueError unless it reads the very ids that ours reads, of every context and continuation."""
    for (context, continuation), (prompt, answer) in zip(pairs, ids, strict=True):
        theirs = tuple(tuple(part) for part in model._encode_pair(context, continuation))
        if theirs != (prompt, answer):
            raise ValueError(
                f"{AGAINST} cuts {continuation!r} after {context[-40:]!r} into other tokens with this tokenizer, so "
                "the two cannot be compared: choose another model."
            )
