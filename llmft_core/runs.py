"""Many runs: where their folders lie, how a run is made, found, listed and deleted."""

import os
import re
import shutil
import tempfile
import time
from difflib import get_close_matches
from pathlib import Path

from llmft_core import files, models
from llmft_core.config import RunConfig
from llmft_core.run import Cancelled, Run, State

__all__ = [
    "NAME",
    "SHIPPED",
    "Cancelled",
    "Run",
    "State",
    "all",
    "check_name",
    "check_new_name",
    "create",
    "delete",
    "find",
    "root",
]

SHIPPED = files.SHIPPED / "runs"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
FILE_ENDINGS = (".lock", ".log", ".tmp", ".json", ".jsonl", ".parquet")  # of what llmft keeps beside and in runs


def root() -> Path:
    """Where runs are kept: $LLMFT_RUNS_DIR, /data/runs on a Space with storage mounted there, or ./runs."""
    if folder := os.environ.get("LLMFT_RUNS_DIR"):
        return Path(folder).expanduser().resolve()
    if os.environ.get("SPACE_ID") and os.path.ismount("/data") and os.access("/data", os.W_OK):
        return Path("/data/runs")
    return Path("runs").resolve()


def create(config: RunConfig, name: str | None = None) -> Run:
    """A new run: its folder with config.json, in one step. Raises ValueError for a bad name or a full disk."""
    base = check_new_name(name) if name else _new_name(config)
    try:
        root().mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=root()))
        try:
            folder.chmod(0o755)
            files.write_json(folder / "config.json", config.model_dump())
            for final in [base] if name else [base, *(f"{base}-{n}" for n in range(2, 1000))]:
                if not (SHIPPED / final).exists() and not (root() / final).exists():
                    os.rename(folder, root() / final)  # fails if somebody was faster: their folder is not empty
                    return Run(root() / final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ValueError(files.sentence(error)) from None
    todo = "choose another name" + ("" if (SHIPPED / base).exists() else " or delete it first")
    raise ValueError(f"There is a run named {base} already: {todo}.")


def check_name(name: str) -> str:
    """The name itself. Raises ValueError unless it is 1 to 80 letters, digits, `_`, `-`, and dots (not first)."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"'{name[:80]}' cannot name a run: use up to 80 letters, digits, dots, dashes and underscores."
        )
    return name


def check_new_name(name: str) -> str:
    """The same for a run that is to be made, which must not be taken for a file of ours or for a model."""
    check_name(name)
    if name.lower().endswith(FILE_ENDINGS):
        raise ValueError(
            f"'{name}' cannot name a run: llmft keeps files of its own that end so; choose another ending."
        )
    if any(name == row.key for row in models.MODELS):
        raise ValueError(f"'{name}' cannot name a run: it is the name of a model; choose another.")
    return name


def _new_name(config: RunConfig) -> str:
    parts = (config.task, Path(config.model).name, config.resolved().method, time.strftime("%Y%m%d-%H%M%S"))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part.strip(".")[:24] for part in parts)).lower()


def find(name: str) -> Run:
    """The run of this name: one's own first, then one that ships. Raises ValueError if there is none."""
    for place in (root(), SHIPPED):
        if (run := _folder(place, check_name(name))) is not None:
            return run
    is_model = any(name == row.key for row in models.MODELS)
    why = f"'{name}' is a model, not a run" if is_model else f"There is no run named '{name}'{_meant(name)}"
    raise ValueError(f"{why}: `python -m llmft_core runs` lists the runs.")


def _meant(name: str) -> str:
    alike = get_close_matches(name, [run.name for run in all()], n=1)
    return f", but there is '{alike[0]}'" if alike else ""


def all() -> list[Run]:
    """Every run: one's own, newest first, then those that ship, first those that can answer. Damaged ones too."""
    own = sorted(_folders(root()), key=lambda run: (run.created(), run.name), reverse=True)
    names = {run.name for run in own}
    shipped = sorted(_folders(SHIPPED), key=lambda run: (not run.can_answer, run.name))
    return own + [run for run in shipped if run.name not in names]


def delete(name: str) -> None:
    """Remove a run for good. Raises ValueError for one that ships, is at work, or does not exist."""
    run = find(name)
    if run.shipped:
        raise ValueError(f"{name} ships with llmft and cannot be deleted.")
    if run.is_held() or run.state().is_active:
        raise ValueError(f"{name} is {run.state().kind}: stop it first.")
    gone = run.path.with_name(f".gone-{run.name}-{os.getpid()}")
    try:
        os.rename(run.path, gone)  # it vanishes at once, whatever the removal takes
        shutil.rmtree(gone)
    except OSError as error:
        raise ValueError(files.sentence(error)) from None


def _folders(place: Path) -> list[Run]:
    try:
        names = sorted(os.listdir(place))
    except OSError:
        return []
    return [run for name in names if NAME.fullmatch(name) and (run := _folder(place, name)) is not None]


def _folder(place: Path, name: str) -> Run | None:
    """The run folder, if it is one and really lies there (a link that leads elsewhere does not count)."""
    path = place / name
    is_here = path.is_dir() and path.resolve().parent == place.resolve()
    return Run(path, shipped=place == SHIPPED) if is_here else None
