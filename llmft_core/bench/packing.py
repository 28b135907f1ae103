"""Prompt trees against padded rows and single examples, all ours: what packing alone gains."""

from llmft_core import jobs

TITLE = "training and evaluation as prompt trees, as padded rows, and one by one"
DEFAULTS = {"model": "mini", "task": "squad_v2", "examples": 200, "rounds": 3}


def run(options: dict, say) -> dict:
    """Examples per second of each way; one child takes them all in turn."""
    answer = jobs.call("side", {"where": "llmft_core.bench.packing_work:measure", "request": options})
    return {"name": "packing", **answer["results"], **answer["about"]}


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    rows = []
    for work in ("train", "evaluate"):
        rates, part = report[work]["examples_per_second"], report[work]
        ratios = (f"{part['ratio_padded']:.2f}", f"{part['ratio_one_by_one']:.2f}")
        rows.append((work, *(f"{rates[way]:.1f}" for way in rates), *ratios, f"{part['agreement']:.2g}"))
    where = f"{report['task']} from {report['source']}, {report['device']}, {report['threads']} threads"
    rows.append((where, *[""] * 6))
    heads = ("examples/s", "packed", "padded", "one by one", "× padded", "× one by one", "agreement")
    return heads, rows, (1, 2, 3, 4, 5, 6)
