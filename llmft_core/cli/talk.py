"""Commands that you talk to: chat, in the terminal, and app, in the browser."""

import sys
from typing import Annotated

import typer

from llmft_core.cli.options import RunName, RunsDir, RunsDirToRead
from llmft_core.cli.printing import note


def chat(
    run: RunName,
    *,
    free: Annotated[bool, typer.Option("--free", help="Plain chat instead of the run's task.")] = False,
    runs_dir: RunsDirToRead = None,
) -> None:
    """Ask both sides of a run, in the terminal.

    Every line is a new question. Ctrl-D ends it.
    """
    from llmft_core import checks, jobs, runs

    found = runs.find(run)
    if found.damage:
        raise ValueError(f"{run} is damaged: {found.damage}.")
    checks.model(found.config.model)
    from llmft_core import tasks  # pulls pandas in: a second, and the model's trouble is told before

    task = tasks.find(found.config.task)
    speaker, paragraph = jobs.Speaker(), ""
    if not free and task.labels:
        note(f"{task.what} One text in each line; --free chats instead.")
    elif not free:
        note("First a paragraph, in one line; then questions about it. An empty line begins another paragraph.")
    try:
        while (line := _read("> " if free or task.labels or paragraph else "paragraph> ")) is not None:
            if not line and (free or task.labels):
                continue
            if free:
                _ask(speaker, {"do": "chat", "run": run, "messages": [{"role": "user", "content": line}]})
            elif task.labels:
                _ask(speaker, {"do": "classify", "task": task.name, "run": run, "text": line})
            elif not paragraph or not line:
                paragraph = line
            else:
                _ask(speaker, {"do": "answer", "task": task.name, "run": run, "context": paragraph, "question": line})
    finally:
        speaker.close()


def _read(prompt: str) -> str | None:
    try:
        return input(prompt if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None


def _ask(speaker, request: dict) -> None:
    from llmft_core import words
    from llmft_core.cli.follow import Lines

    lines = Lines()
    for event in speaker.ask(request):
        if event["event"] == "download":
            lines.progress(f"Downloading {event['model']}: {words.amount(event['done'], event['total'])}", False)
            continue
        lines.close()
        if event["event"] == "error":
            note(event["message"])
        elif event["event"] == "done":
            for side in ("zero_shot", "fine_tuned"):
                if event.get(side):
                    print(f"{side.replace('_', '-'):<11} {_answer(event[side])}")


def _answer(side: dict) -> str:
    from llmft_core import words

    if "label" in side:
        return f"{side['label']} {words.percent(side.get('probabilities', {}).get(side['label']))}".strip()
    if "answer" in side:
        return side["answer"] or "(no answer)"
    return side.get("text", "").strip()


def app(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on: 127.0.0.1 unless told; 0.0.0.0 lets others in.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on: the first free one from 7860.")] = None,
    runs_dir: RunsDir = None,
) -> None:
    """Open the app in the browser."""
    from llmft_core import checks

    checks.port(port)
    from llmft_core.ui import build_app, launch  # slow: what is wrong is told before

    launch(build_app(), host=host, port=port)
