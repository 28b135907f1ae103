"""What one GPU does: fine-tuning and evaluation at the sizes of Llama 3.2 1B and Gemma 2 2B, with random weights.

Needs no network, no weights and no page. Each part is a child of its own: one that fails is a sentence in the report.
"""

import time

from llmft_core import jobs

TITLE = "one GPU: fine-tuning and evaluation at two sizes, attention masks, compilation"
DEFAULTS = {"examples": 512, "rounds": 2}
SHAPES = ("llama-3.2-1b-shape", "gemma-2-2b-shape")
WITHIN = 400.0  # seconds after which no further part is begun: all of it stays under eight minutes
BUDGET = 4.0  # seconds that each way is timed in each round
WHERE = "llmft_core.bench"


def run(options: dict, say) -> dict:
    """A dict per part, or a sentence where it failed. Raises ValueError without a GPU."""
    begin = time.monotonic()
    base = options | {"device": "cuda", "budget": BUDGET, "seed": 1}
    answer = jobs.call("side", {"where": f"{WHERE}.gpu_peak:measure", "request": base})
    peak = answer["results"] | answer["about"]
    say(f"{peak['device']}: {peak['tflops']:.0f} TFLOPS in bf16")
    report: dict = {"name": "gpu", "rounds": options["rounds"], "peak": peak, "models": {}}
    for part, where, request in _parts(base | {"tflops": peak["tflops"]}):
        if time.monotonic() - begin > WITHIN:
            found: dict | str = f"left out: {WITHIN:.0f} seconds were over"
        else:
            try:
                found = _ask(where, request)
            except (ValueError, jobs.CallFailed) as error:
                found = str(error)
        place = report["models"].setdefault(part[0], {}) if len(part) > 1 else report
        place[part[-1]] = found
        say(f"{', '.join(part)}: {found if isinstance(found, str) else 'done'} ({time.monotonic() - begin:.0f} s)")
    return report | {"seconds": round(time.monotonic() - begin)}


def _parts(base: dict):
    """(where it stands in the report, function, request), the most important first."""
    yield ("attention",), "gpu_attention:measure", base
    for method in ("lora", "full"):
        for shape in SHAPES:
            yield (shape, method), "gpu_train:measure", base | {"shape": shape, "method": method}
    for shape in SHAPES:
        yield (shape, "evaluate"), "gpu_evaluate:measure", base | {"shape": shape}
    for shape in SHAPES:
        lora = base | {"shape": shape, "method": "lora", "ways": ["packed"]}
        for extra in ("liger", "compiled"):
            yield (shape, extra), "gpu_train:measure", lora | {"extra": extra}


def _ask(where: str, request: dict) -> dict:
    return jobs.call("side", {"where": f"{WHERE}.{where}", "request": request})["results"]


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    rows = [(f"{report['peak']['device']}: {report['peak']['tflops']:.0f} TFLOPS in bf16", *[""] * 4)]
    for shape, parts in report["models"].items():
        for part, found in parts.items():
            rows += _rows(f"{shape}, {part}", found)
    attention = report["attention"]
    if isinstance(attention, str):
        rows.append((f"attention: {attention}", *[""] * 4))
        return HEADS, rows, (1, 2, 3, 4)
    for one in attention["layouts"]:
        flex = one["flex_ms"] if isinstance(one["flex_ms"], str) else f"{one['flex_ms']:.2f} ms"
        what = f"attention, rows of {one['tokens']}: dense mask {one['dense_ms']:.2f} ms, FlexAttention {flex}"
        rows.append((what, *[""] * 4))
    return HEADS, rows, (1, 2, 3, 4)


HEADS = ("", "examples/s", "tokens/s", "of the peak", "peak GiB")


def _rows(what: str, found: dict | str) -> list[tuple]:
    if isinstance(found, str):
        return [(f"{what}: {found}", *[""] * 4)]
    rows = []
    for way, one in found["ways"].items():
        if isinstance(one, str):
            rows.append((f"{what}, {way}: {one}", *[""] * 4))
            continue
        share = f"{one['of_peak']:.1%}" if "of_peak" in one else ""
        tokens = f"{one['tokens_per_second']:.0f}" if "tokens_per_second" in one else ""
        memory = "" if one["peak_memory_gib"] is None else f"{one['peak_memory_gib']:.1f}"
        rows.append((f"{what}, {way}", f"{one['examples_per_second']:.1f}", tokens, share, memory))
    return rows
