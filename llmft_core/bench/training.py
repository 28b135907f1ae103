"""Fine-tuning, ours against TRL's SFTTrainer and transformers' Trainer: what the benches train-* share.

Either tool goes the fastest of its ways that run here, found by a trial of a few steps. The work is proved to be the
same by the loss of the first step, a mean over answer tokens in nats that each tool reports itself.
"""

from dataclasses import replace

from llmft_core import jobs
from llmft_core.bench import duel
from llmft_core.bench.duel import Duel

HERE = "llmft_core.bench.training_sides"
ALONE = {"max_length": None}  # prompts are cut before, for all sides
FREE = {"padding_free": True, **ALONE}
# A way is what a tool is told: in how many passes it takes an optimizer step, which attention, and settings of its own.
WAYS = {
    "trl": {
        "padding": {"passes": 1, "own": ALONE},
        "padding, 4 passes": {"passes": 4, "own": ALONE},
        "padding, 4 passes, eager": {"passes": 4, "attention": "eager", "own": ALONE},
        "padding-free": {"passes": 1, "own": FREE},
        "padding-free, 4 passes": {"passes": 4, "own": FREE},
        "packing": {"own": {"packing": True}},
    },
    "plain": {
        "padding": {"passes": 1, "own": {}},
        "padding, 4 passes": {"passes": 4, "own": {}},
        "padding, 4 passes, eager": {"passes": 4, "attention": "eager", "own": {}},
    },
}
TOOLS = {"trl": "TRL SFTTrainer", "plain": "transformers Trainer"}
NEEDS = {"trl": ("trl",), "plain": ()}
TRIAL_EXAMPLES = 96  # three optimizer steps of the demo preset
SEED = 1


def run(task: str, part: str, options: dict, say) -> dict:
    """The report against the faster tool, the other one under `others`. `part`: the rows that the timing takes."""
    from llmft_core.bench import training_quality

    name = f"train-{task}"
    duels = {tool: Duel(f"{HERE}:ours", f"{HERE}:{tool}", TOOLS[tool], closeness, NEEDS[tool]) for tool in WAYS}
    for needing in duels.values():
        duel.refuse_missing(name, needing)
    request = {key: options[key] for key in ("model", "examples", "data_dir")}
    request |= {"task": task, "part": part, "seed": SEED}
    trials = {tool: trial(tool, request, say) for tool in WAYS}
    ways = {tool: fastest(TOOLS[tool], tried) for tool, tried in trials.items()}
    reports = []
    for tool, way in ways.items():
        say(f"against {TOOLS[tool]}, {way}")
        against = replace(duels[tool], against=f"{TOOLS[tool]} ({way})")
        reports.append(duel.fight(name, against, request | {"way": WAYS[tool][way]}, options["rounds"], say))
    headline, *others = sorted(reports, key=lambda report: report["ratio"])
    report = headline | {"others": others, "trials": trials}
    if options["seeds"]:
        taught = {tool: WAYS[tool][way] for tool, way in ways.items()}
        report |= {"quality": training_quality.measure(request, taught, options["seeds"], say)}
    return report


def trial(tool: str, request: dict, say) -> dict[str, dict]:
    """Of each way of a tool its examples per second over a few steps, or why it did not run."""
    found = {}
    few = request | {"examples": min(TRIAL_EXAMPLES, request["examples"])}
    for way, told in WAYS[tool].items():
        try:
            turn = duel.take_turn(f"{HERE}:{tool}", few | {"way": told}, is_ours=False)
        except (ValueError, jobs.CallFailed) as error:
            found[way] = {"failed": str(error)}
            say(f"trial, {TOOLS[tool]}, {way}: did not run: {error}")
            continue
        found[way] = {"per_second": round(turn.n / turn.seconds, 3), "peak_memory_mib": turn.peak_memory // 2**20}
        say(f"trial, {TOOLS[tool]}, {way}: {turn.n / turn.seconds:.2f}/s, {turn.peak_memory / 2**20:.0f} MiB")
    return found


def fastest(tool: str, tried: dict[str, dict]) -> str:
    """The fastest way that ran. Raises ValueError with the first reason if none did."""
    ran = {way: found["per_second"] for way, found in tried.items() if "per_second" in found}
    if not ran:
        raise ValueError(f"{tool} does not run here: {next(iter(tried.values()))['failed']}")
    return max(ran, key=ran.get)


def closeness(ours: dict, theirs: dict) -> float:
    """1 where both report the same loss for the first step, less by their relative difference."""
    return max(0.0, 1 - abs(ours["first_loss"] - theirs["first_loss"]) / abs(theirs["first_loss"]))


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    heads, rows, numbers = duel.table(report)
    for other in report["others"]:
        rows.append((f"against {other['against']}", "", "", ""))
        rows += duel.table(other)[1]
    for tool, found in report.get("quality", {}).get("against", {}).items():
        change = f"{found['difference']:+.2f} ± {found['noise']:.2f} points"
        rows.append((f"quality, ours less {TOOLS[tool]}: {change}", "", "", ""))
    return heads, rows, numbers
