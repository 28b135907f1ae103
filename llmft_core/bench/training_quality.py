"""What each side learnt, beside how fast: all taught the same train rows, all measured on dev rows by our engine."""

import statistics
import tempfile
from pathlib import Path

from llmft_core import jobs, tasks
from llmft_core.bench import duel

SIDES = "llmft_core.bench.training_sides"
EVALUATED = 400  # rows of the official dev part
CONFIDENCE = 0.95


def measure(request: dict, ways: dict[str, dict], seeds: int, say) -> dict:
    """Headline metric in percent of every side, seed by seed; of each tool its paired difference from ours.

    `noise` is the half width of the 95 % t interval of that difference over the seeds.
    """
    sides = {"ours": None, **ways}
    scores: dict[str, list[float]] = {side: [] for side in sides}
    headline = tasks.find(request["task"]).headline
    for seed in range(1, seeds + 1):
        for side, way in sides.items():
            scores[side].append(round(100 * score(side, way, request | {"seed": seed})[headline], 2))
            say(f"quality, seed {seed}, {side}: {headline} {scores[side][-1]:.2f}")
    return {
        "metric": headline,
        "learnt_from": request["examples"],
        "evaluated": EVALUATED,
        "scores": scores,
        "means": {side: round(statistics.mean(found), 2) for side, found in scores.items()},
        "against": {tool: difference(scores["ours"], scores[tool]) for tool in ways},
    }


def score(side: str, way: dict | None, request: dict) -> dict[str, float]:
    """Metrics of what one side learnt from `examples` rows of the train part."""
    with tempfile.TemporaryDirectory() as folder:
        adapter = str(Path(folder) / "adapter")
        learn = request | {"way": way, "part": "train", "shuffled": True, "keep": adapter}
        duel.take_turn(f"{SIDES}:{side}", learn)
        asked = {"task": request["task"], "split": "official", "data_dir": request["data_dir"], "data_file": None}
        asked |= {"seed": 1, "examples": EVALUATED, "adapter": adapter}
        return jobs.call("evaluate", asked | {"model": request["model"], "model_path": request["model"]})["metrics"]


def difference(ours: list[float], theirs: list[float]) -> dict:
    """Of paired scores, in points: the mean difference, its noise, and whether it lies within."""
    from scipy import stats

    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(gaps) - 1)
    noise = float(quantile * statistics.stdev(gaps) / len(gaps) ** 0.5)
    mean = statistics.mean(gaps)
    return {"difference": round(mean, 2), "noise": round(noise, 2), "within_noise": abs(mean) <= noise}
