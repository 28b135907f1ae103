"""What a model can be taught: every file of this folder that defines TASK is a task."""

import functools
import importlib
import pkgutil

from llmft_core.tasks.base import Example, Prompt, Task

__all__ = ["Example", "Prompt", "Task", "find", "names"]

SPELLINGS = {"squad2": "squadv2"}  # what people also type -> the name without its punctuation


@functools.cache
def _tasks() -> dict[str, Task]:
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {module.TASK.name: module.TASK for module in modules if hasattr(module, "TASK")}


def names() -> tuple[str, ...]:
    """The names of all tasks, in alphabetical order of their files."""
    return tuple(_tasks())


def find(name: str) -> Task:
    """The task of this name, however people spell it (`squad2`, `SST-2`). Raises ValueError if unknown."""
    wanted = _letters(name)
    wanted = SPELLINGS.get(wanted, wanted)
    for key, task in _tasks().items():
        if _letters(key) == wanted:
            return task
    raise ValueError(f"Unknown task '{name}'. Choose one of {', '.join(names())}.")


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
