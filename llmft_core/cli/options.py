"""Flags that several commands share, and flags made from a table of settings."""

import ast
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from llmft_core.cli.printing import note
from llmft_core.config import RunConfig


def _use_runs_dir(value: str | None) -> str | None:
    if value:
        os.environ["LLMFT_RUNS_DIR"] = value  # children read it too
    return value


def _read_runs_dir(value: str | None) -> str | None:
    """For commands that make no run: a folder that is not there is most likely misspelt."""
    if value and not Path(value).expanduser().is_dir():
        note(f"{value}: no such folder, so only the runs that ship are seen; check --runs-dir.")
    return _use_runs_dir(value)


def _runs_dir(callback: Callable[[str | None], str | None]) -> Any:
    help = "Where runs are kept (also LLMFT_RUNS_DIR)."
    return typer.Option("--runs-dir", help=help, metavar="DIR", callback=callback)


RunsDir = Annotated[str | None, _runs_dir(_use_runs_dir)]
RunsDirToRead = Annotated[str | None, _runs_dir(_read_runs_dir)]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", help="Folder with <task>/train.parquet and <task>/validation.parquet.", metavar="DIR"),
]
DataFile = Annotated[
    str | None, typer.Option("--data-file", help="One file with rows: parquet, csv, json or jsonl.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else there.")]
Task = Annotated[str, typer.Option("--task", help="A name from `tasks`.")]
RunName = Annotated[str, typer.Argument(help="A name from `runs`.", metavar="RUN", show_default=False)]


def flags_of_run() -> list[inspect.Parameter]:
    """One flag per field of `RunConfig`, with its type, default and sentence."""
    return [
        _flag(name, field.annotation, field.default, field.description)
        for name, field in RunConfig.model_fields.items()
    ]


def flags_of_pretraining() -> list[inspect.Parameter]:
    """One flag per field of `engine.pretrain.Recipe`, read from its source: importing it would load torch."""
    source = Path(__file__).resolve().parent.parent / "engine" / "pretrain.py"
    recipe = next(
        node
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Recipe"
    )
    fields = [node for node in recipe.body if isinstance(node, ast.AnnAssign)]
    values = [(field.target.id, ast.literal_eval(field.value)) for field in fields]
    return [_flag(name, type(value), value, "") for name, value in values]


def _flag(name: str, kind: Any, default: object, help: str) -> inspect.Parameter:
    flag = name.replace("_", "-")
    is_switch = kind in (bool, bool | None)
    option = typer.Option(f"--{flag}/--no-{flag}" if is_switch else f"--{flag}", help=help)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def with_flags(flags: Callable[[], list[inspect.Parameter]]) -> Callable:
    """Replace the `**settings` of a command by these flags."""

    def decorate(command: Callable) -> Callable:
        own = [
            parameter
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        parameters = flags() + [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        command.__signature__ = inspect.Signature(parameters)
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate
