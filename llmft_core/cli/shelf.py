"""Commands about what is there: runs (list, show, delete, stop, resume), models, tasks."""

import time

import typer

from llmft_core.cli import printing
from llmft_core.cli.learn import NoWait
from llmft_core.cli.options import AsJson, RunName, RunsDirToRead

runs_app = typer.Typer(help="List runs; show, delete, stop or resume one.", rich_markup_mode=None)


@runs_app.callback(invoke_without_command=True)
def list_runs(context: typer.Context, runs_dir: RunsDirToRead = None, json: AsJson = False) -> None:
    from llmft_core import runs, words

    if context.invoked_subcommand:
        return
    found = [run.summary() for run in runs.all()]
    if json:
        printing.emit(found)
        return
    if not found:
        printing.note("No runs yet: python -m llmft_core fine-tune --task sst2 makes one.")
        return
    rows = []
    for run in found:
        head = run["headline"] or {}
        before, after = head.get("zero_shot"), head.get("fine_tuned")
        is_known = not (words.is_missing(before) or words.is_missing(after))
        values = f"{head['metric']} {words.percent(before, unit=False)} → {words.percent(after)}" if is_known else ""
        change = words.points(after - before) if is_known else ""
        state = words.state(run["state"], run["detail"] or "", run["reason"] or "") + (
            ", shipped" if run["shipped"] else ""
        )
        about = (run["task"], run["model"], run["method"] or "", run["split"])
        rows_from = words.source(run["source"] or "")
        rows.append((run["name"], state, values, change, words.duration(run["seconds"]), *about, rows_from))
    heads = ("run", "state", "headline", "points", "time", "task", "model", "method", "split", "rows from")
    printing.table(heads, rows, (2, 3, 4))


@runs_app.command()
def show(run: RunName, *, runs_dir: RunsDirToRead = None, json: AsJson = False) -> None:
    """Settings, state and result of one run, and the end of its log if it went wrong."""
    from llmft_core import config, runs, words

    found = runs.find(run)
    state = found.state()
    if json:
        about = {
            "path": found.path,
            "config": found.config.model_dump(),
            "metrics": found.metrics() if not found.damage else None,
        }
        printing.emit(found.summary() | about)
        return
    when = time.strftime("%d %B %Y, %H:%M", time.localtime(found.created()))
    rows = [
        ("state", words.state(*state)),
        ("made", when),
        ("time", words.duration(found.seconds()) or "0:00"),
        ("folder", str(found.path)),
    ]
    if rows_from := words.source(found.source()):
        rows.append(("rows from", rows_from))
    if not found.damage:
        settings = found.config.resolved()
        idle = () if settings.method == "lora" else config.OF_LORA
        rows += [
            (key.replace("_", " "), str(value))
            for key, value in settings.model_dump(exclude_none=True).items()
            if key not in idle
        ]
    printing.table(("run", found.name), rows)
    if state.kind in ("failed", "died"):
        print(f"\n{state.detail}")
        print(f"\n{found.log_tail(20)}".rstrip())
    elif not found.damage and found.metrics():
        print(f"\n{words.verdict(found.metrics()).text}")


@runs_app.command()
def delete(run: RunName, *, runs_dir: RunsDirToRead = None) -> None:
    """Remove a run for good."""
    from llmft_core import runs

    runs.delete(run)
    print(f"{run} is deleted.")


@runs_app.command()
def stop(run: RunName, *, runs_dir: RunsDirToRead = None) -> None:
    """Stop a run: asked first, forced after half a minute; the last adapter is kept."""
    from llmft_core import jobs, runs, words

    print(f"{run} {words.state(*jobs.stop(runs.find(run)))}")


@runs_app.command()
def resume(run: RunName, *, runs_dir: RunsDirToRead = None, no_wait: NoWait = False) -> None:
    """Go on with a run that was stopped, failed or died, from its last checkpoint."""
    from llmft_core import jobs, runs
    from llmft_core.cli import follow

    found = runs.find(run)
    seen = len(found.history())
    jobs.resume(found)
    if not no_wait:
        raise typer.Exit(follow.to_the_end(found, seen))


def models(*, json: AsJson = False) -> None:
    """The models that have a short name.

    Any Hub id (owner/name) or local folder works too.
    """
    from dataclasses import asdict

    from llmft_core import models, words

    if json:
        printing.emit([asdict(row) for row in models.MODELS])
        return
    rows = [(row.key, words.size(row.parameters), "gated" if row.gated else "", row.what) for row in models.MODELS]
    printing.table(("model", "size", "", ""), rows, (1,))


def tasks(*, json: AsJson = False) -> None:
    """What a model can be taught."""
    from llmft_core import tasks

    found = [tasks.find(name) for name in tasks.names()]
    if json:
        fields = ("name", "title", "what", "hub_id", "splits", "columns", "labels", "headline", "table_metrics")
        printing.emit([{field: getattr(task, field) for field in fields} for task in found])
        return
    printing.table(("task", "", ""), [(task.name, task.title, task.what) for task in found])
