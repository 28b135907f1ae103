"""Two sides take turns (A B A B …), each turn a fresh process: medians, ratios pair by pair, and whether they agree."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from llmft_core import jobs


@dataclass(frozen=True)
class Duel:
    """What is compared: "module:function" of either side, their names, and how far two results agree (0 to 1)."""

    ours: str
    theirs: str
    against: str
    agree: Callable[[object, object], float]
    needs: tuple[str, ...] = ()  # distributions of requirements-bench.txt
    gap: Callable[[object, object], float] | None = None  # the largest difference of the numbers in two results


@dataclass(frozen=True)
class Turn:
    """One turn of one side: `seconds` is the work alone; time and peak memory (bytes) of the whole process beside."""

    seconds: float
    n: int
    results: object
    about: dict
    process_seconds: float
    peak_memory: int


def fight(name: str, duel: Duel, request: dict, rounds: int, say: Callable[[str], None] = lambda line: None) -> dict:
    """The report of a bench. Raises ValueError if a public tool is missing, jobs.CallFailed if a side breaks."""
    refuse_missing(name, duel)
    turns: dict[str, list[Turn]] = {"ours": [], "theirs": []}
    for number in range(rounds):
        for side, where in (("ours", duel.ours), ("theirs", duel.theirs)):
            turn = take_turn(where, request, is_ours=side == "ours")
            turns[side].append(turn)
            say(f"round {number + 1}, {side}: {turn.n / turn.seconds:.2f}/s, {turn.peak_memory / 2**20:.0f} MiB")
    pairs = list(zip(turns["ours"], turns["theirs"], strict=True))
    ratios = [theirs.seconds / ours.seconds for ours, theirs in pairs]
    memory = [ours.peak_memory / theirs.peak_memory for ours, theirs in pairs]
    return {
        "name": name,
        "against": duel.against,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "agreement": min(duel.agree(ours.results, theirs.results) for ours, theirs in pairs),
        **({"gap": max(duel.gap(ours.results, theirs.results) for ours, theirs in pairs)} if duel.gap else {}),
        "memory_ratio": round(statistics.median(memory), 2),
        "rounds": rounds,
        "request": request,
        **{side: summary(found) for side, found in turns.items()},
    }


def refuse_missing(name: str, duel: Duel) -> None:
    """Raises ValueError if a public tool that the bench needs is not installed."""
    for needed in duel.needs:
        try:
            metadata.version(needed)
        except metadata.PackageNotFoundError:
            raise ValueError(
                f"The bench '{name}' needs {needed}: pip install -r requirements-bench.txt, and run it again."
            ) from None


def take_turn(where: str, request: dict, is_ours: bool = True) -> Turn:
    """Run one side in a process of its own; a public tool has the environment in which people use it, not ours."""
    answer, seconds, peak = jobs.timed("side", {"where": where, "request": request}, is_quick=is_ours)
    return Turn(**answer, process_seconds=seconds, peak_memory=peak)


def summary(turns: list[Turn]) -> dict:
    """Medians of the turns of one side, and what it said about itself."""
    seconds = statistics.median(turn.seconds for turn in turns)
    return {
        "seconds": round(seconds, 3),
        "n": turns[0].n,
        "per_second": round(turns[0].n / seconds, 3),
        "process_seconds": round(statistics.median(turn.process_seconds for turn in turns), 2),
        "peak_memory_mib": round(statistics.median(turn.peak_memory for turn in turns) / 2**20),
        **turns[-1].about,
    }


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    rows = [
        (side, f"{report[side]['per_second']:.2f}", f"{report[side]['seconds']:.2f}", report[side]["peak_memory_mib"])
        for side in ("ours", "theirs")
    ]
    low, high = min(report["ratios"]), max(report["ratios"])
    rows.append((f"{report['ratio']:.2f} times as fast ({low:.2f} to {high:.2f})", "", "", ""))
    gap = f", largest difference {report['gap']:.1g}" if "gap" in report else ""
    rows.append((f"agreement {report['agreement']:.4f}{gap}, memory × {report['memory_ratio']:.2f}", "", "", ""))
    return (f"against {report['against']}", "per second", "seconds", "peak MiB"), rows, (1, 2, 3)
