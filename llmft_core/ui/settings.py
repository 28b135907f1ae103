"""Settings of a run as form controls, preset cards, and the command line that does the same: all from RunConfig."""

import shlex
import types
from typing import Literal, Union, get_args, get_origin

import gradio as gr

from llmft_core import config, words
from llmft_core.config import OF_LORA, PRESETS, RunConfig
from llmft_core.run import METHODS

ABOVE = ("model", "task", "preset")  # chosen elsewhere on the page
NEVER = ("data_dir", "data_file")  # paths are for the command line
NAMES = [name for name in RunConfig.model_fields if name not in ABOVE + NEVER]
SWITCH = ("yes", "no")
WIDTH = 36  # characters of a line of the command


def controls() -> dict[str, gr.components.Component]:
    """One control per setting; empty means what the preset says, which stands in grey."""
    return {name: _control(name) for name in NAMES}


def _control(name: str) -> gr.components.Component:
    setting = RunConfig.model_fields[name]
    look = dict(label=title(name), info=setting.description, interactive=True, elem_id=f"set-{name}", min_width=180)
    if options(name):
        return gr.Dropdown([("as the preset", "")], value="", filterable=False, **look)
    return gr.Textbox("", lines=1, max_lines=1, max_length=20, **look)


def options(name: str) -> tuple:
    """The values to choose from (as they are sent), or () for a number."""
    kind = RunConfig.model_fields[name].annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    return SWITCH if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()


def title(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("Lora", "LoRA")


def hints(preset: str, task: str, model: str, method: str) -> dict[str, gr.components.Component]:
    """Updates of the controls: an empty one says in grey what the preset and the method make of it.

    LoRA's own are closed to a run without it, and emptied.
    """
    usual = RunConfig(task=task, model=model, preset=preset).resolved()
    wanted = method if method in options("method") else None
    filled = RunConfig(task=task, model=model, preset=preset, method=wanted).resolved()
    said = filled.model_dump() | {"method": usual.method}
    is_lora = filled.method == "lora"
    return {name: _hint(name, _said(name, said[name]), interactive=is_lora or name not in OF_LORA) for name in NAMES}


def _hint(name: str, said: str, interactive: bool) -> gr.components.Component:
    emptied = {} if interactive else {"value": ""}
    if not options(name):
        return gr.Textbox(placeholder=said, interactive=interactive, **emptied)
    choices = [(METHODS.get(value, value), value) for value in options(name)]
    choices = [(f"{METHODS.get(said, said)}, as the preset", ""), *choices]
    return gr.Dropdown(choices=choices, interactive=interactive, **emptied)


def _said(name: str, value: object) -> str:
    if name in ("train_examples", "eval_examples") and not value:
        return "all"
    if isinstance(value, bool):
        return SWITCH[not value]
    if value is None:
        return ""
    if name == "learning_rate":
        return f"{value:.0e}".replace("e-0", "e-")
    return words.count(value) if isinstance(value, int) else f"{value}".removesuffix(".0")


def cards(task: str, model: str) -> list[tuple[str, str]]:
    """(`demo` and what it does, name) of each preset."""
    return [
        (f"{name}\n{describe(RunConfig(task=task, model=model, preset=name).resolved())}", name) for name in PRESETS
    ]


def describe(filled: RunConfig) -> str:
    """`LoRA, 4,000 examples, 1 epoch`."""
    how = "All weights" if filled.method == "full" else "LoRA"
    many = f"{words.count(filled.train_examples)} examples" if filled.train_examples else "all examples"
    epochs = _said("epochs", filled.epochs)
    upto = "up to " if filled.patience else ""
    rest = f"batch {filled.batch_size}, learning rate {_said('learning_rate', filled.learning_rate)}"
    return f"{how}, {many}, {upto}{epochs} epoch{'' if epochs == '1' else 's'}, {rest}"


def given(values: dict[str, object]) -> dict[str, object]:
    """What somebody has filled in, as RunConfig takes it; thousands may have commas."""
    kept = {
        name: str(value).strip().replace(",", "")
        for name, value in values.items()
        if name in NAMES and value is not None
    }
    return {name: value for name, value in kept.items() if value}


def make(task: str, model: str, preset: str, values: dict[str, object]) -> RunConfig:
    """The run that the form describes. Raises ValueError with one sentence."""
    if preset not in PRESETS:
        raise ValueError(f"'{preset}' is no preset; choose one of {', '.join(PRESETS)}.")
    return config.make(task=task, model=model, preset=preset, **given(values))


def command(task: str, model: str, preset: str, values: dict[str, object]) -> str:
    """The same from a terminal, broken before it wraps."""
    flags = {"model": model, "task": task, "preset": preset} | given(values)
    lines = ["python -m llmft_core fine-tune"]
    for name, value in flags.items():
        word = _flag(name.replace("_", "-"), str(value))
        if len(lines) > 1 and len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return " \\\n".join(lines)


def _flag(name: str, value: str) -> str:
    if value in SWITCH:
        return f"--{name}" if value == SWITCH[0] else f"--no-{name}"
    return f"--{name} {shlex.quote(value)}"
