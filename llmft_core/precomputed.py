"""The runs that ship: which they are, and how a finished run becomes one, without checkpoints, logs and local paths."""

import os
import shutil
from pathlib import Path

from llmft_core import checks, files, runs
from llmft_core.config import RunConfig
from llmft_core.run import Run

HOUSE = Path(__file__).resolve().parent.parent
WHOLE = dict(model="mini", preset="demo", train_examples=0, eval_examples=0, probe_examples=256, epochs=1)
# SST-2's settings were chosen on a part of train that shares no sentence with what was learnt, never on dev.
RUNS: dict[str, dict] = {
    "sst2-mini-lora": WHOLE | dict(task="sst2", learning_rate=3e-3, lora_rank=8),
    "sst2-mini-full": WHOLE | dict(task="sst2", method="full", learning_rate=5e-4, epochs=2),
    "squad-v2-mini-lora": WHOLE | dict(task="squad_v2", learning_rate=3e-3, lora_rank=8),
    "squad-v2-mini-full": WHOLE | dict(task="squad_v2", method="full", learning_rate=1e-3, epochs=1.5),
}
# The same lesson on two splits: what a test part that was met in training makes of the figures.
for _task, _learnt, _tested in (("sst2", 20_000, 4000), ("squad_v2", 5000, 1000)):
    for _split in ("80-20", "grouped"):
        RUNS[f"{_task.replace('_', '-')}-mini-{_split}"] = WHOLE | dict(
            task=_task, split=_split, method="full", learning_rate=2e-3,
            train_examples=_learnt, eval_examples=_tested,
        )  # fmt: skip
KEPT = ("config.json", "events.jsonl", "environment.json", "predictions.parquet", "weights.parquet", "metrics.json")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def chosen(names: list[str]) -> list[str]:
    """These names, or all. Raises ValueError for one that is not in the table."""
    for name in names:
        if name not in RUNS:
            raise ValueError(f"'{name}' is not a run that ships; choose from {', '.join(RUNS)}.")
    return names or list(RUNS)


def draft(name: str, config: RunConfig) -> tuple[Run, bool]:
    """The run among one's own that will ship as `name`, and whether it is new.

    One with other settings, or of a base that has other weights by now, is deleted.
    """
    try:
        run = runs.find(f"draft-{name}")
    except ValueError:
        return runs.create(config, f"draft-{name}"), True
    if run.config == config and _has_its_base(run):
        return run, False
    runs.delete(run.name)
    return runs.create(config, run.name), True


def _has_its_base(run: Run) -> bool:
    try:
        checks.same_base(run)
    except ValueError:
        return False
    return True


def ship(run: Run, name: str) -> Path:
    """Copy what readers need of a finished run to precomputed/runs. Raises ValueError if a local path would go too."""
    if run.state().kind != "finished":
        raise ValueError(f"{run.name} is {run.state().kind}, so it cannot ship.")
    target = runs.SHIPPED / f".new-{name}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        for file in KEPT:
            if (run.path / file).exists():
                shutil.copyfile(run.path / file, target / file)
        if run.config.resolved().method == "lora":
            (target / "adapter").mkdir()
            for file in ADAPTER:
                shutil.copyfile(run.adapter / file, target / "adapter" / file)
        places = {"data_dir": None, "data_file": None}
        files.write_json(target / "config.json", run.config.model_copy(update=places).model_dump())
        for path in sorted(target.rglob("*.json*")):
            _forget_machine(path, run)
        old = runs.SHIPPED / f".old-{name}"
        if (runs.SHIPPED / name).exists():
            os.rename(runs.SHIPPED / name, old)
        os.rename(target, runs.SHIPPED / name)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return runs.SHIPPED / name


def _forget_machine(path: Path, run: Run) -> None:
    """Paths inside the repository become relative to it; any other of this machine is refused."""
    text = path.read_text(encoding="utf-8")
    clean = text.replace(f"{HOUSE}/", "").replace(str(HOUSE), ".")
    private = [str(run.path.parent), str(Path.home()), run.config.data_dir, run.config.data_file]
    found = next((place for place in private if place and len(place) > 1 and place in clean), None)
    if found:
        raise ValueError(f"{path.name} of {run.name} names {found}, a place on this machine: it cannot ship like that.")
    if clean != text:
        files.write_text(path, clean)
