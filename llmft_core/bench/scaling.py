"""How our speed and memory go with the length of paragraphs, the questions on each, the pass, the model, company.

Work is made up (random ids of exact lengths), so no rows are needed. Each curve is one child, in which peak memory
cannot be told apart by point; passes, models and company have a fresh child per point.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from llmft_core import jobs
from llmft_core.bench import scaling_fit

TITLE = "how speed and memory go with paragraph, questions, pass, model, and two processes at once"
DEFAULTS = {"model": "mini", "rounds": 3}
PARAGRAPHS = (32, 64, 128, 256, 384)
QUESTIONS = (1, 2, 4, 8, 16)
PASSES = (512, 1024, 2048, 4096, 8192)
LLAMA = {"model_type": "llama", "head_dim": 64, "vocab_size": 8192, "max_position_embeddings": 1024}
MODELS = tuple(
    LLAMA
    | dict(hidden_size=width, intermediate_size=width * 11 // 4, num_hidden_layers=layers)
    | dict(num_attention_heads=width // 64, num_key_value_heads=keys)
    for width, layers, keys in ((128, 3, 1), (256, 6, 2), (384, 6, 2), (512, 7, 4))
)  # 1.6 to 25 M parameters; the second is the shape of mini
POINT = {"paragraph": 160, "questions": 4, "question": 24, "budget": 1024, "tokens": 2048, "way": "packed"}
GAINS = ((64, 2), (192, 4), (384, 8))  # tokens of a paragraph, questions on it
WAYS = ("packed", "rows", "one by one")
WORKS = ("train", "evaluate")
WITHIN = 240.0  # seconds after which no further child is begun: all of it stays under five minutes
SEED = 1


def run(options: dict, say) -> dict:
    """The curves, the model that explains them, what it says of packing and what was measured of it."""
    begin = time.monotonic()
    base = {"model": options["model"], "rounds": options["rounds"], "seed": SEED}
    report: dict = {"name": "scaling", "model": options["model"], "rounds": options["rounds"], "curves": {}}
    curves = report["curves"]
    for name, places in (("paragraph", PARAGRAPHS), ("questions", QUESTIONS)):
        curves[name], report["about"] = _curve(base, name, places)
        say(f"{name}: done ({time.monotonic() - begin:.0f} s)")
    report["fit"] = {work: _fit([curves["paragraph"], curves["questions"]], work) for work in WORKS}
    report["gains"] = _gains(base, report["fit"])
    say(f"gains: done ({time.monotonic() - begin:.0f} s)")
    for name, at, measure in _children(base, report["about"]["threads"]):
        if time.monotonic() - begin > WITHIN:
            found: dict | str = f"left out: {WITHIN:.0f} seconds were over"
        else:
            try:
                found = measure()
            except jobs.CallFailed as error:  # out of memory, mostly
                found = str(error)
        is_point = isinstance(found, dict)
        point = {"at": at} | (found if is_point else {"failed": found})
        curves.setdefault(name, {"points": []})["points"].append(point)
        say(f"{_label(name, point)}: {'done' if is_point else found} ({time.monotonic() - begin:.0f} s)")
    return report | {"seconds": round(time.monotonic() - begin)}


def _ask(request: dict) -> tuple[dict, dict, int]:
    """What a child measured, what it ran on, its peak memory in MiB."""
    answer, _, peak = jobs.timed("side", {"where": "llmft_core.bench.scaling_work:measure", "request": request})
    return answer["results"], answer["about"], round(peak / 2**20)


def _curve(base: dict, name: str, places: tuple[int, ...]) -> tuple[dict, dict]:
    """One child, which goes through all the points; and what it ran on."""
    found, about, peak = _ask(base | {"points": [POINT | {name: at} for at in places]})
    points = [{"at": at} | _rates(point) for at, point in zip(places, found["points"], strict=True)]
    return {"peak_memory_mib": peak, "points": points}, about


def _rates(point: dict) -> dict:
    """A point with tokens per second; those of padding would count, but rows of one length have none."""
    rates = {work: round(point["trees"] * point["tokens"] / point["seconds"][work], 1) for work in WORKS}
    return point | {"tokens_per_second": rates}


def _fit(curves: list[dict], work: str) -> dict[str, float]:
    points = [point for curve in curves for point in curve["points"]]
    return scaling_fit.fit(
        [point["tokens"] for point in points], [point["seconds"][work] / point["trees"] for point in points]
    )


def _gains(base: dict, fits: dict[str, dict]) -> list[dict]:
    """How many times as fast trees are as rows of their own and as single examples, beside what the fit says."""
    shapes = [POINT | {"paragraph": paragraph, "questions": questions} for paragraph, questions in GAINS]
    points = _ask(base | {"points": [shape | {"way": way} for shape in shapes for way in WAYS]})[0]["points"]
    gains = []
    for number, shape in enumerate(shapes):
        packed, rows, alone = points[len(WAYS) * number : len(WAYS) * (number + 1)]
        size = {name: shape[name] for name in ("paragraph", "questions", "question")}
        found: dict = {
            work: {
                "predicted": round(scaling_fit.gain(fits[work], **size), 2),
                "rows": round(rows["seconds"][work] / packed["seconds"][work], 2),
                "one_by_one": round(alone["seconds"][work] / packed["seconds"][work], 2),
            }
            for work in WORKS
        }
        gains.append(size | found)
    return gains


def _children(base: dict, threads: int) -> Iterator[tuple[str, object, Callable[[], dict]]]:
    """(curve, where on it, what measures there) of all that wants a fresh child, the most telling first."""
    for n, each in company(threads):
        yield "processes", [n, each], lambda n=n, each=each: _together(base, n, each)
    for at in PASSES:
        wide = POINT | {"budget": at, "tokens": max(PASSES)}
        yield "budget", at, lambda wide=wide: _alone(base | {"points": [wide]})
    for shape in MODELS:
        at = f"{shape['num_hidden_layers']} × {shape['hidden_size']}"
        yield "model", at, lambda shape=shape: _alone(base | {"points": [POINT], "model": shape})


def company(threads: int) -> list[tuple[int, int]]:
    """(processes, threads of each): one, then two that want the same cores, then two that share the threads."""
    return [(1, threads), (2, threads)] + ([(2, threads // 2)] if threads > 1 else [])


def _alone(request: dict) -> dict:
    found, _, peak = _ask(request)
    return _rates(found["points"][0]) | {"peak_memory_mib": peak, "parameters": found["parameters"]}


def _together(base: dict, n: int, threads: int) -> dict:
    """`n` children that begin every timed piece of work together: their tokens per second and memory in sum."""
    with tempfile.TemporaryDirectory(prefix="llmft-bench-") as folder, ThreadPoolExecutor(n) as pool:
        request = base | {"points": [POINT], "threads": threads, "meeting": {"folder": folder, "n": n}}
        found = list(pool.map(_alone, [request] * n))
    rates = {work: round(sum(one["tokens_per_second"][work] for one in found), 1) for work in WORKS}
    return found[0] | {
        "tokens_per_second": rates,
        "each": [one["tokens_per_second"] for one in found],
        "peak_memory_mib": sum(one["peak_memory_mib"] for one in found),
    }


def _label(name: str, point: dict) -> str:
    at = point["at"]
    if name == "processes":
        return f"{at[0]} {'process' if at[0] == 1 else 'processes at once'}, {at[1]} threads each"
    if name == "model":
        size = f", {point['parameters'] / 1e6:.1f} M parameters" if "parameters" in point else ""
        return f"random weights, {at}{size}"
    said = {"paragraph": "tokens in a paragraph", "questions": "questions on it", "budget": "padded tokens in a pass"}
    return f"{at} {said[name]}"


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    rows = []
    for name, curve in report["curves"].items():
        for number, point in enumerate(curve["points"]):
            if "failed" in point:
                rows.append((f"{_label(name, point)}: {point['failed']}", "", "", ""))
                continue
            shared = curve.get("peak_memory_mib", "") if number == 0 else ""  # of the whole curve
            rates = (f"{point['tokens_per_second'][work]:.0f}" for work in WORKS)
            rows.append((_label(name, point), *rates, str(point.get("peak_memory_mib", shared))))
    fits = [report["fit"][work] for work in WORKS]
    rows.append(("fitted: µs per token", *(f"{fit['a'] * 1e6:.1f}" for fit in fits), ""))
    rows.append(("fitted: ns per pair of tokens in a row", *(f"{fit['b'] * 1e9:.1f}" for fit in fits), ""))
    rows.append(("R² of the fit", *(f"{fit['r2']:.3f}" for fit in fits), ""))
    for gain in report["gains"]:
        what = f"{gain['questions']} questions on {gain['paragraph']} tokens, times as fast as "
        for key, said in GAINED.items():
            rows.append((what + said, *(f"{gain[work][key]:.2f}" for work in WORKS), ""))
    return ("tokens/s, on prompt trees", "train", "evaluate", "peak MiB"), rows, (1, 2, 3)


GAINED = {"predicted": "rows of their own, by the fit", "rows": "rows of their own", "one_by_one": "one by one"}
