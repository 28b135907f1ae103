"""Commands that read results or measure: evaluate, score, compare, weights, bits-per-byte, exam."""

from pathlib import Path
from typing import Annotated

import typer

from llmft_core.cli import printing
from llmft_core.cli.options import AsJson, DataDir, DataFile, RunName, RunsDirToRead, Task


def evaluate(
    *,
    model_path: Annotated[
        str,
        typer.Option(
            "--model-path", "--model", help="A model, a run (its fine-tuned side) or a folder.", show_default=False
        ),
    ],
    task: Task,
    split: Annotated[
        str | None, typer.Option("--split", help="official, 80-20 or grouped; a run's own if empty.")
    ] = None,
    data_dir: DataDir = None,
    data_file: DataFile = None,
    examples: Annotated[int | None, typer.Option("--examples", help="Most examples to test on.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the split; a run's own if empty.")] = None,
    runs_dir: RunsDirToRead = None,
    json: AsJson = False,
) -> None:
    """Test one model on a task."""
    from llmft_core import api

    places = {"data_dir": data_dir, "data_file": data_file}
    _print_scores(api.evaluate(model_path, task, split=split, examples=examples, seed=seed, **places), json)


def score(
    *,
    task: Task,
    predictions: Annotated[
        str, typer.Option("--predictions", help="JSON {id: answer}.", metavar="FILE", show_default=False)
    ],
    data_dir: DataDir = None,
    data_file: DataFile = None,
    json: AsJson = False,
) -> None:
    """Score a predictions file, without a model."""
    from llmft_core import api

    _print_scores(api.score(task, predictions, data_dir=data_dir, data_file=data_file), json)


def _print_scores(found: dict, json: bool) -> None:
    from llmft_core import words

    if json:
        printing.emit(found)
        return
    rows_from = words.source(found.get("source") or "")
    about = f"{found['model']} on {found['task']}, {found.get('split')}, n = {words.count(found['n'])}"
    print(about + (f", rows from {rows_from}" if rows_from else ""))
    if found.get("truncated"):
        print(f"{words.count(found['truncated'])} prompts had their paragraph cut to fit.")
    printing.metrics(found["metrics"], found["intervals"])
    speed = f", {found['examples_per_second']:,.1f} examples per second" if found.get("examples_per_second") else ""
    print(f"{words.duration(found.get('seconds'))}{speed}")


def compare(run: RunName, *, runs_dir: RunsDirToRead = None, json: AsJson = False) -> None:
    """Zero-shot against fine-tuned: the verdict of a run.

    Both sides, the change with its 95 % interval and p, what was fixed and what broke.
    """
    from llmft_core import api, runs, words

    found = api.compare(run)
    if json:
        printing.emit(found)
        return
    print(words.verdict(runs.find(run).metrics()).text)
    rows_from = words.source(found.get("source") or "")
    rows_from = f", rows from {rows_from}" if rows_from else ""
    print(f"n = {words.count(found['n'])}, split {found.get('split')}, seed {found.get('seed')}{rows_from}.\n")
    rows = []
    for name, after in found["fine_tuned"].items():
        before, change = found["zero_shot"].get(name), found["delta"].get(name, {})
        between = words.interval(change.get("low"), change.get("high"))
        values = (
            words.percent(before, unit=False),
            words.percent(after, unit=False),
            words.points(change.get("value")),
        )
        rows.append((words.metric(name).title, *values, between, words.p_value(change.get("p"))))
    heads = ("metric, %", "zero-shot", "fine-tuned", "change", "95 %", "p")
    printing.table(heads, rows, (1, 2, 3, 4, 5))
    if flips := found.get("flips"):
        parts = (
            (key.replace("_", " "), flips[key])
            for key in ("fixed", "broken", "both_right", "both_wrong")
            if key in flips
        )
        counts = ", ".join(f"{words.count(number)} {name}" for name, number in parts)
        print(f"\n{counts}; {words.p_phrase(flips.get('p'))} (exact McNemar)")


def weights(
    run: Annotated[str | None, typer.Argument(help="A name from `runs`.", metavar="RUN")] = None,
    *,
    base: Annotated[str | None, typer.Option("--base", help="Model before: a folder.", metavar="DIR")] = None,
    tuned: Annotated[str | None, typer.Option("--tuned", help="Model or adapter after.", metavar="DIR")] = None,
    runs_dir: RunsDirToRead = None,
    json: AsJson = False,
) -> None:
    """How far each part of a model moved."""
    from llmft_core import api, runs, words

    if run:
        runs.find(run)
    table = api.weight_changes(run, base=base, tuned=tuned)
    about = {"name": run} if run else {"base": base, "tuned": tuned}
    changed = table[table["change_norm"] > 0]
    total = {"parameters": int(table["parameters"].sum()), "tensors_changed": len(changed), "tensors": len(table)}
    if json:
        printing.emit(about | total | {"rows": table.to_dict(orient="records")})
        return
    of = f"{len(changed)} of {len(table)} compared tensors changed"
    print(f"{of}; {words.count(total['parameters'])} parameters in them all.")
    if changed.empty:
        printing.note("Nothing changed: the two sides are the same model.")
        return
    rows = [
        (row.tensor, words.significant(100 * row.relative_change), words.significant(row.stable_rank))
        for row in changed.sort_values("relative_change", ascending=False).head(20).itertuples()
    ]
    printing.table(("most changed", "change, %", "stable rank"), rows, (1, 2))


def bits_per_byte(
    model: Annotated[str, typer.Argument(help="A key of `models`, a Hub id or a folder.", metavar="MODEL")],
    text: Annotated[str, typer.Argument(help="A .txt or .txt.xz file.", metavar="FILE")],
    *,
    json: AsJson = False,
) -> None:
    """How well a model predicts a text; lower is better."""
    from llmft_core import checks, jobs

    path = _text(text)
    found = jobs.call("bits_per_byte", {"model": checks.model(model).source, "text": str(path)})
    if json:
        printing.emit({"model": model, "text": path.name} | found)
    else:
        print(f"{found['bits_per_byte']:.3f} bits per byte of {path.name}")


def exam(
    model: Annotated[str, typer.Argument(help="A key of `models`, a Hub id or a folder.", metavar="MODEL")],
    text: Annotated[str, typer.Argument(help="A .txt or .txt.xz file that it has not read.", metavar="FILE")],
    *,
    questions: Annotated[int, typer.Option("--questions", min=1, help="How many of each kind.")] = 400,
    json: AsJson = False,
) -> None:
    """Whether a model finds answers in a passage, on questions made from a text."""
    from llmft_core import checks, jobs, words

    request = {"model": checks.model(model).source, "text": str(_text(text)), "questions": questions}
    found = jobs.call("exam", request)
    if json:
        printing.emit(found)
        return
    print("The first token of the answer is the most probable one:")
    rows = [(name.replace("_", " "), f"{part['n']:,}", words.percent(part["right"])) for name, part in found.items()]
    printing.table(("part", "n", "right"), rows, (1, 2))


def _text(given: str) -> Path:
    path = Path(given).expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"{given}: no such text file; give a .txt or .txt.xz file.")
    return path
