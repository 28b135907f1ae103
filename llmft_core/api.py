"""What the command line does, as functions. Errors for people are ValueErrors; torch stays in child processes."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmft_core import checks, files, jobs, models, runs, words
from llmft_core.config import RunConfig, make
from llmft_core.run import Run, State

if TYPE_CHECKING:
    import pandas as pd

PLACES = ("data_dir", "data_file")


def fine_tune(*, name: str | None = None, **settings) -> Run:
    """Fine-tune in a child process and wait for the end: a finished run. `settings` are fields of `RunConfig`.

    Raises ValueError for bad settings (no run is made then), jobs.CallFailed if the run does not finish.
    """
    run = start(name=name, **settings)
    state = jobs.wait(run)
    if state.kind != "finished":
        raise jobs.CallFailed(f"{run.name} {words.plain(state.kind)}: {state.detail}")
    return run


def start(*, name: str | None = None, **settings) -> Run:
    """The same without waiting: a run that is queued or running."""
    return begin(checks.prepare(**settings), name)


def begin(config: RunConfig, name: str | None = None) -> Run:
    """Make a run with these checked settings and start it; if it cannot be started, nothing is left of it."""
    run = runs.create(config, name)
    try:
        jobs.start(run)
    except (ValueError, jobs.CallFailed):
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def load_run(name: str) -> Run:
    """A run by its name. Raises ValueError if there is none."""
    return runs.find(name)


def list_runs() -> list[Run]:
    """All runs, newest first, those that ship last."""
    return runs.all()


def compare(run: Run | str) -> dict:
    """The paired verdict of a finished run, as `compare --json` prints it. Raises ValueError if there is none yet."""
    run = _run(run)
    found = run.metrics()
    if found is None:
        raise ValueError(f"{run.name} has no result: {words.why_none(run.name, *run.state())}.")
    known = (
        "task",
        "model",
        "split",
        "method",
        "n",
        "source",
        "seed",
        "zero_shot",
        "fine_tuned",
        "delta",
        "flips",
        "intervals",
    )
    return {"name": run.name} | {key: found[key] for key in known if key in found}


def _said(state: State) -> str:
    said = words.plain(state.kind)
    return f"{said} ({state.detail.rstrip('.')})" if state.detail else said


def weight_changes(
    run: Run | str | None = None, *, base: str | Path | None = None, tuned: str | Path | None = None
) -> "pd.DataFrame":
    """One row per tensor: how far it moved. Of a run, or between two folders (`tuned` may be a LoRA adapter)."""
    import pandas as pd

    if (run is None) == (base is None and tuned is None) or (base is None) != (tuned is None):
        raise ValueError("Give a run, or both --base and --tuned.")
    if run is not None:
        run = _run(run)
        table = run.weights()
        if table is None:
            raise ValueError(f"{run.name} has no weight changes: {words.why_none(run.name, *run.state())}.")
        return table
    folders = {"base": _weights_folder(base, "--base"), "tuned": _weights_folder(tuned, "--tuned")}
    table = pd.DataFrame(jobs.call("weights", folders))
    numbers = table.columns.difference(["tensor", "module", "kind", "singular_values"])
    table[numbers] = table[numbers].apply(pd.to_numeric)  # NaN comes as None, a column of them as objects
    return table


def _weights_folder(given: str | Path, flag: str) -> str:
    """The folder of a model key or path. Raises ValueError unless safetensors lie in it."""
    row = next((row for row in models.MODELS if row.key == str(given) and row.is_shipped), None)
    folder = Path(row.source if row else given).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"{flag} {given}: no such folder; give one that holds a model or an adapter.")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{flag} {given}: holds no .safetensors, the only format of weights that is read.")
    return str(folder)


def evaluate(
    model_path: str,
    task: str,
    *,
    split: str | None = None,
    data_dir: str | None = None,
    data_file: str | None = None,
    examples: int | None = None,
    seed: int | None = None,
) -> dict:
    """One model (a key, Hub id, folder) or the fine-tuned side of a run on a task: {"task", "n", "metrics", …}.

    A run is tested on its own rows unless others are given: of rows that it learnt from, on the fifth that it kept, so
    with its split and seed. A `data_file` without a split is tested on whole. Raises ValueError for bad input.
    """
    about, own = locate(model_path)
    from llmft_core import tasks  # pulls pandas in: a second, and the model's trouble is told before

    task = tasks.find(task)
    rows = _rows_to_test(task.name, own, split, data_dir, data_file)
    given = {"eval_examples": examples, "seed": own.seed if seed is None else seed}
    try:
        config = make(task=task.name, model=about["model"], **given, **rows)
    except ValueError as error:
        raise ValueError(str(error).replace("--eval-examples", "--examples")) from None
    is_elsewhere = bool(data_dir or data_file) and any(rows[key] != getattr(own, key) for key in PLACES)
    if about["run"] and own.task == task.name and not is_elsewhere:
        _refuse_learnt_rows(own, config)
    checks.data(task, config, parts=(1,))
    request = {"model_path": model_path, "task": task.name, "examples": examples, "seed": config.seed}
    return jobs.call("evaluate", request | about | rows)


def _rows_to_test(task: str, own: RunConfig, split: str | None, data_dir: str | None, data_file: str | None) -> dict:
    """{"split", "data_dir", "data_file"}: as given by hand, else the run's own, else LLMFT_DATA_DIR or the Hub."""
    is_own = own.task == task and not (data_dir or data_file) and bool(own.data_dir or own.data_file)
    if is_own and own.data_file and split == "official":
        raise ValueError(
            f"{Path(own.data_file).name} is one file, without a test part: leave --split out to test on the fifth "
            "that the run kept, or give --data-file to test on all its rows."
        )
    given = (own.data_dir, own.data_file) if is_own else (data_dir, data_file)
    places = checks.absolute(dict(zip(PLACES, given, strict=True)))
    return {"split": split or ("official" if data_file else own.split), **places}


def _refuse_learnt_rows(own: RunConfig, asked: RunConfig) -> None:
    if asked.split != "official" and (asked.split, asked.seed) != (own.split, own.seed):
        raise ValueError(
            f"--split {asked.split} and --seed {asked.seed} would test the run on rows that it learnt from (made with "
            f"{own.split} and {own.seed}): leave both out to test on those that it kept."
        )


def locate(model_path: str) -> tuple[dict, RunConfig]:
    """What to load for MODEL, RUN or FOLDER: {"model", "adapter", "run"}, and the settings of the run (or defaults).

    `model` is a key, Hub id or folder; `adapter` the LoRA folder to put on it or None; `run` the run's folder or None.
    """
    path = Path(model_path).expanduser()
    if any(model_path == row.key for row in models.MODELS):
        return {"model": checks.model(model_path).key, "adapter": None, "run": None}, RunConfig()
    if (path / "events.jsonl").exists() and (path / "config.json").exists():
        return _of_run(Run(path.resolve()))
    if (path / "adapter_config.json").exists():
        return {"model": checks.model(_base_of(path)).source, "adapter": str(path.resolve()), "run": None}, RunConfig()
    if not path.is_dir() and runs.NAME.fullmatch(model_path):
        try:
            run = runs.find(model_path)
        except ValueError as error:
            keys = ", ".join(row.key for row in models.MODELS)
            raise ValueError(f"No model or folder is named '{model_path}': models are {keys}. {error}") from None
        return _of_run(run)
    return {"model": checks.model(model_path).source, "adapter": None, "run": None}, RunConfig()


def _base_of(adapter: Path) -> str:
    """An adapter names its base by the path where it was made; the model of that name that ships is the same one."""
    path = adapter / "adapter_config.json"
    try:
        base = str(files.read_json(path).get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        raise ValueError(f"{path} is damaged (not a JSON object); copy or make the adapter again.") from None
    is_path = "/" in base.strip("/") and not Path(base).is_dir()
    return Path(base).name if is_path and any(row.key == Path(base).name for row in models.MODELS) else base


def _of_run(run: Run) -> tuple[dict, RunConfig]:
    if run.damage:
        raise ValueError(f"{run.name} is damaged: {run.damage}.")
    config = run.config.resolved()
    if config.method == "full":
        if not any(run.model_dir.glob("*.safetensors")):
            why = "ships without its weights" if run.shipped else f"holds no model: it is {_said(run.state())}"
            raise ValueError(f"{run.name} {why}.")
        checks.weights(run.model_dir)
        return {"model": str(run.model_dir), "adapter": None, "run": str(run.path)}, config
    if not any(run.adapter.glob("*.safetensors")):
        raise ValueError(f"{run.name} holds no adapter: it is {_said(run.state())}.")
    checks.weights(run.adapter)
    return {"model": checks.model(config.model).source, "adapter": str(run.adapter), "run": str(run.path)}, config


def score(task: str, predictions: str | Path, *, data_dir: str | None = None, data_file: str | None = None) -> dict:
    """Score a predictions file against the gold answers, in the shape of `evaluate`; no model is loaded.

    The file is the official {id: text} ("" abstains), or {id: label name or number}. Raises ValueError if an example
    has no prediction or a prediction no example.
    """
    from llmft_core import predictions_file, rows, statistics, tasks

    begun, task = time.perf_counter(), tasks.find(task)
    path = Path(predictions).expanduser()
    given = predictions_file.read(path)
    places = checks.absolute({"data_dir": data_dir, "data_file": data_file})
    source = None if any(places.values()) else "hub"
    gold = rows.examples(task, **places, source=source)
    if not gold:
        raise ValueError(f"The rows of {task.title} are not on this machine: give --data-file or --data-dir.")
    table = predictions_file.table(path.name, task, given, gold)
    metrics, intervals = task.summarise(table), statistics.intervals(task, table)
    seconds = time.perf_counter() - begun
    where = Path(places["data_file"]).name if places["data_file"] else "official"
    counts = {"n": len(gold), "metrics": metrics, "intervals": intervals, "seconds": round(seconds, 3)}
    speed = {"examples_per_second": round(len(gold) / seconds, 1)}
    return {"task": task.name, "model": path.name, "split": where, **counts, **speed}


def _run(run: Run | str) -> Run:
    return run if isinstance(run, Run) else runs.find(run)
