"""Fabricated runs for tests: objects in the shape of `runs.Run`, and whole run folders. All of it is made up.

    run = fakes.run("sst2", n=60)                          an object, nothing on the disk
    fakes.write_run(folder, task="squad_v2", n=60)         the same run as a folder; state: finished, running, failed, …
    texts = {e.id: e for e in fakes.examples("sst2", 60)}  the examples behind its predictions

The same arguments always give the same numbers.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from fake_rows import SIDES, examples, predictions, weights

from llmft_core import config, events

__all__ = ["Run", "State", "empty_run", "examples", "history", "metrics", "predictions", "run", "weights", "write_run"]

START = 1_764_000_000.0
STEPS = 40
HEADLINES = {"sst2": "accuracy", "squad_v2": "f1"}
BASELINES = {
    "sst2": {"accuracy": 0.509, "f1": 0.675, "f1_macro": 0.337, "auroc": 0.5},
    "squad_v2": {"exact_match": 0.5007, "f1": 0.5007, "has_answer_f1": 0.0, "no_answer_f1": 1.0},
}
CEILINGS = {
    "sst2": dict.fromkeys(("accuracy", "precision", "recall", "f1", "f1_macro", "auroc"), 1.0),
    "squad_v2": {"exact_match": 0.91, "f1": 0.95, "has_answer_f1": 0.9, "no_answer_f1": 1.0, "bleu": 0.88},
}


class State(NamedTuple):
    kind: str
    detail: str = ""


@dataclass
class Run:
    """What frames and charts may ask of a run."""

    name: str
    config: config.RunConfig
    shipped: bool = False
    said: list = field(default_factory=list)
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: dict | None = None
    tensors: pd.DataFrame | None = None
    now: State = State("finished")

    def history(self) -> list[events.Event]:
        return self.said

    def state(self) -> State:
        return self.now

    def predictions(self) -> pd.DataFrame:
        return self.rows

    def metrics(self) -> dict | None:
        return self.scores

    def weights(self) -> pd.DataFrame | None:
        return self.tensors

    def title(self) -> str:
        method = {"lora": "LoRA", "full": "Full"}[self.config.method]
        return f"{method}, {self.config.split}" + (", shipped" if self.shipped else "")

    def headline(self) -> dict | None:
        if not self.scores:
            return None
        metric = HEADLINES[self.config.task]
        delta = self.scores["delta"][metric]
        sides = {side: self.scores[side][metric] for side in SIDES}
        return {"metric": metric, **sides, "low": delta["low"], "high": delta["high"], "p": delta["p"]}

    def seconds(self) -> float | None:
        return self.scores["seconds"]["total"] if self.scores else None


def run(
    task: str = "sst2",
    n: int = 60,
    name: str = "",
    state: str = "finished",
    method: str = "lora",
    shipped: bool = False,
) -> Run:
    """A run of `n` test items in a state of `runs.State`; only a finished one has predictions, metrics and weights."""
    settings = config.make(task=task, preset="demo", method=method)
    made = Run(
        name or f"{task}-mini-{method}-20261123-224501", settings, shipped, now=State(state, DETAILS.get(state, ""))
    )
    made.said = history(task, state)
    if state == "finished":
        made.rows = predictions(task, n)
        made.scores = metrics(task, made.rows)
        made.tensors = weights(method)
    return made


def empty_run(task: str = "sst2") -> Run:
    """A run that has said nothing yet."""
    return Run(f"{task}-mini-lora-queued", config.make(task=task), now=State("queued", "1 ahead"))


DETAILS = {"queued": "1 ahead", "running": "64 %", "failed": "out of memory", "cancelled": "at step 20", "died": ""}


def write_run(
    folder: Path | str, task: str = "sst2", n: int = 60, state: str = "finished", method: str = "lora"
) -> Path:
    """Write the run as a folder in the contract's shape; `running` holds no lock, so a reader may call it died."""
    folder = Path(folder)
    made = run(task, n, folder.name, state, method)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(made.config.model_dump_json(indent=2), encoding="utf-8")
    (folder / "log.txt").write_text("loading the model\nzero-shot: 60 examples\n", encoding="utf-8")
    environment = {
        "python": "3.12.3",
        "torch": "2.13.0",
        "device": "cpu",
        "threads": 2,
        "data": {"train": "f00d", "test": "beef"},
    }
    (folder / "environment.json").write_text(json.dumps(environment, indent=2), encoding="utf-8")
    for event in made.said:
        events.append(folder / "events.jsonl", event)
    if made.scores:
        (folder / "metrics.json").write_text(json.dumps(made.scores, indent=2), encoding="utf-8")
        made.rows.to_parquet(folder / "predictions.parquet")
        made.tensors.to_parquet(folder / "weights.parquet")
        adapter = folder / ("adapter" if method == "lora" else "model")
        adapter.mkdir(exist_ok=True)
        (adapter / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return folder


# ---- metrics.json and events --------------------


def metrics(task: str, rows: pd.DataFrame) -> dict:
    """The metrics of the rows (simple means; ECE, AUROC and BLEU are rough) with normal intervals."""
    before, after = (rows[rows.side == side].reset_index(drop=True) for side in SIDES)
    score = _label_scores if task == "sst2" else _span_scores
    sides = {side: score(frame) for side, frame in zip(SIDES, (before, after), strict=True)}
    n = len(before)
    column = "correct" if task == "sst2" else "exact_match"
    was, now = before[column] == 1, after[column] == 1
    delta = {}
    for name, value in sides["fine_tuned"].items():
        change = value - sides["zero_shot"][name]
        half = 1.96 * 0.6 / n**0.5
        p = 0.0002 if abs(change) > half else 0.24
        delta[name] = {"value": change, "low": change - half, "high": change + half, "p": p}
    return {
        "task": task, "model": "mini", "split": "official", "method": "lora", "n": n,
        "source": "samples", "seed": 1, **sides,
        "intervals": {side: {m: _interval(v, n) for m, v in scores.items()} for side, scores in sides.items()},
        "delta": delta,
        "flips": {"fixed": int((~was & now).sum()), "broken": int((was & ~now).sum()), "p": 0.0004,
                  "both_right": int((was & now).sum()), "both_wrong": int((~was & ~now).sum())},
        "calibrated": {side: dict(scores) for side, scores in sides.items()} if task == "sst2" else {},
        "baseline": BASELINES[task], "ceiling": CEILINGS[task],
        "speed": {"zero_shot": 91.5, "fine_tuned": 88.2, "train": 50.2},
        "seconds": {"zero_shot": 9.5, "train": 72.0, "fine_tuned": 9.9, "weights": 0.4, "total": 94.0},
        "parameters": {"total": 5_243_904, "trainable": 294_912},
        "leakage": {"share": 0.004, "what": "test sentences seen in training"},
        "truncated": 0, "side_proof": {"base_equal": True, "tuned_differs": True},
    }  # fmt: skip


def _interval(value: float, n: int) -> list[float]:
    half = 1.96 * (max(value * (1 - value), 0.001) / n) ** 0.5
    return [max(0.0, value - half), min(1.0, value + half)]


def _label_scores(rows: pd.DataFrame) -> dict[str, float]:
    hit = [float(((rows.gold == c) & (rows.predicted == c)).sum()) for c in (0, 1)]
    said = [float((rows.predicted == c).sum()) for c in (0, 1)]
    true = [float((rows.gold == c).sum()) for c in (0, 1)]
    f1 = [2 * h / max(1.0, s + t) for h, s, t in zip(hit, said, true, strict=True)]
    ranks = rows.p_positive.rank()
    auroc = (ranks[rows.gold == 1].sum() - true[1] * (true[1] + 1) / 2) / max(1.0, true[0] * true[1])
    gap = abs(rows.p_positive - rows.gold).mean() / 2
    return {
        "accuracy": float((rows.gold == rows.predicted).mean()), "precision": hit[1] / max(1.0, said[1]),
        "recall": hit[1] / max(1.0, true[1]), "f1": f1[1], "f1_macro": sum(f1) / 2, "auroc": float(auroc),
        "ece": float(gap), "invalid_rate": float((rows.predicted == -1).mean()),
    }  # fmt: skip


def _span_scores(rows: pd.DataFrame) -> dict[str, float]:
    has, none = rows[rows.has_answer], rows[~rows.has_answer]
    overlap = {name: float(has[name].mean()) for name in ("meteor", "rouge1", "rouge2", "rougeL")}
    return {
        "exact_match": float(rows.exact_match.mean()), "f1": float(rows.f1.mean()),
        "has_answer_exact_match": float(has.exact_match.mean()), "has_answer_f1": float(has.f1.mean()),
        "no_answer_exact_match": float(none.exact_match.mean()), "no_answer_f1": float(none.f1.mean()),
        "abstention_rate": float((rows.answer == "").mean()), "bleu": float(has.f1.mean()) * 0.6, **overlap,
    }  # fmt: skip


def history(task: str = "sst2", state: str = "finished") -> list[events.Event]:
    """What the run has said: 40 steps (26 while running, 20 when it ended early), a probe every 10 on 128 items."""
    if state == "queued":
        return []
    reached = {"finished": STEPS, "running": 26}.get(state, 20)
    metric = HEADLINES[task]
    said: list[events.Event] = [
        events.Started(4242, "cpu", at=START), events.Stage("loading", at=START),
        events.Stage("zero-shot", 60, 60, at=START + 1),
        events.Evaluated("zero_shot", 0, 60, {metric: 0.52}, final=True, at=START + 9),
        events.Stage("training", at=START + 10), events.Evaluated("zero_shot", 0, 128, {metric: 0.531}, at=START + 11),
    ]  # fmt: skip
    rng = np.random.default_rng(3)
    for step in range(2, reached + 1, 2):
        at = START + 11 + 1.8 * step
        loss = 0.2 + 0.6 * float(np.exp(-step / 12)) + float(rng.normal(0, 0.02))
        said.append(events.Step(step, STEPS, loss, 1e-3 * (1 - step / STEPS), step * 32, 50.2, at=at))
        if step % 10 == 0:
            value = 0.86 - 0.33 * float(np.exp(-step / 14))
            said.append(events.Evaluated("fine_tuned", step, 128, {metric: value}, at=at + 0.5))
    last = said[-1].at + 10
    result = events.Evaluated("fine_tuned", STEPS, 60, {metric: 0.85}, final=True, at=last - 1)
    message = "The model needs 9.1 GB and 5.8 GB are free; lower --batch-size."
    ends = {
        "finished": [result, events.Finished(94.0, at=last)],
        "failed": [events.Failed("out-of-memory", message, at=last)],
        "cancelled": [events.Cancelled(20, at=last)],
    }
    return said + ends.get(state, [])
