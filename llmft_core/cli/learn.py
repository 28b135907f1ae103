"""Commands that make something: fine-tune, pretrain, precompute."""

from pathlib import Path
from typing import Annotated

import typer

from llmft_core.cli.options import AsJson, DataDir, RunsDir, flags_of_pretraining, flags_of_run, with_flags
from llmft_core.cli.printing import emit, note

NoWait = Annotated[bool, typer.Option("--no-wait", help="Start it and return; `runs` tells how it goes.")]


@with_flags(flags_of_run)
def fine_tune(
    *,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run; made from its settings if empty.")
    ] = None,
    runs_dir: RunsDir = None,
    no_wait: NoWait = False,
    **settings,
) -> None:
    """Teach a model a task: zero-shot, training, fine-tuned, verdict.

    Ctrl-C cancels the run and keeps the last adapter; a closed terminal changes nothing.
    """
    from llmft_core import api, checks, runs
    from llmft_core.cli import follow

    if name:
        runs.check_new_name(name)
    config = checks.prepare(**settings)
    sentence = checks.data_note(config)
    run = api.begin(config, name)
    note(f"Run {run.name} in {run.path.parent}")
    if sentence:
        note(sentence)
    if no_wait:
        print(run.name)
        return
    raise typer.Exit(follow.to_the_end(run))


@with_flags(flags_of_pretraining)
def pretrain(
    *,
    text: Annotated[list[str], typer.Option("--text", help="A .txt or .txt.xz file; may be given several times.")],
    out: Annotated[str, typer.Option("--out", help="Folder for the model.", metavar="DIR")],
    chats: Annotated[
        str | None, typer.Option("--chats", help="JSON list of conversations, for the chat template.", metavar="FILE")
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option("--held-out", help="Data folder whose evaluation examples the text must not hold.", metavar="DIR"),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            help="Model (a key or folder) whose tokenizer, sizes, weights and level of practice are taken over.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    **settings,
) -> None:
    """Pretrain a small Llama, such as `mini`, from plain text."""
    from llmft_core import checks, jobs

    paths, told = _texts(text), Path(chats).expanduser().resolve() if chats else None
    if told and not told.is_file():
        raise ValueError(f"{told}: no such file; give --chats a JSON file of conversations.")
    base = Path(checks.model(start_from).source) if start_from else None
    if base and not base.is_dir():
        raise ValueError(f"--start-from {start_from}: give 'mini' or the folder of a small Llama that pretrain wrote.")
    kept = Path(held_out).expanduser().resolve() if held_out else None
    for flag, value in settings.items():
        if not isinstance(value, bool) and not value > 0:
            raise ValueError(f"--{flag.replace('_', '-')} {value}: must be more than 0.")
    request = {"text": paths, "out": Path(out).expanduser().resolve(), "resume": resume, "settings": settings}
    print(jobs.call("pretrain", request | {"chats": told, "held_out": kept, "start_from": base})["model"])


def overlap(
    *,
    text: Annotated[list[str], typer.Option("--text", help="A .txt or .txt.xz file; may be given several times.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """How many documents of a text share a run of 13 words with evaluation examples."""
    from llmft_core import checks, jobs

    folder = checks.absolute({"data_dir": data_dir})["data_dir"]
    if not folder:
        raise ValueError("Give --data-dir, the folder with the evaluation examples to look for.")
    counts = jobs.call("overlap", {"text": _texts(text), "data_dir": folder})
    if as_json:
        emit(counts)
        return
    for name, found in counts.items():
        print(f"{name}: {found['shared']:,} of {found['documents']:,} documents share 13 words with an example.")


def _texts(given: list[str]) -> list[Path]:
    paths = [Path(path).expanduser().resolve() for path in given]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: no such text file; give --text the path of a .txt or .txt.xz file.")
    return paths


def precompute(
    *,
    only: Annotated[list[str] | None, typer.Option("--only", help="Just this one; may be given several times.")] = None,
    data_dir: DataDir = None,
    runs_dir: RunsDir = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that are there already.")] = False,
) -> None:
    """Make the runs that ship, in precomputed/runs.

    Goes on where it was interrupted.
    """
    from llmft_core import checks, jobs, precomputed, runs
    from llmft_core.cli import follow

    wanted = precomputed.chosen(only or [])
    for name in wanted:
        if (runs.SHIPPED / name).exists() and not again:
            note(f"{name} is there already.")
            continue
        config = checks.prepare(**precomputed.RUNS[name], data_dir=data_dir)
        run, is_new = precomputed.draft(name, config)
        seen = len(run.history())
        if run.state().kind != "finished":
            jobs.start(run) if is_new else jobs.resume(run)
            if code := follow.to_the_end(run, seen):
                raise typer.Exit(code)
        print(precomputed.ship(run, name))
