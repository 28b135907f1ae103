"""What is chosen at the top: a task, a model, a run. Whatever a browser sends becomes something that we know."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llmft_core import models, runs, tasks, words
from llmft_core.runs import Run

NO_RUN = ""
USABLE = ("finished", "cancelled")  # a cancelled run keeps the adapter that it has learnt so far


class Choice(NamedTuple):
    """The three choices, settled: names that exist, and the run itself (None when there is none yet)."""

    task: str
    model: str
    run: Run | None

    @property
    def run_name(self) -> str:
        return self.run.name if self.run else NO_RUN

    @property
    def metrics(self) -> dict | None:
        """The result of the run, if it has one that can be read."""
        try:
            return self.run.metrics() if self.run else None
        except ValueError:
            return None


def settle(task: object, model: object, run: object, every: Sequence[Run] | None = None) -> Choice:
    """The nearest choice that exists: an unknown name becomes the first, an unknown run the newest with a result."""
    every = runs.all() if every is None else every
    task = task if task in tasks.names() else default_task()
    keys = [key for _, key in models_offered(every)]
    model = model if model in keys else keys[0]
    fitting = runs_of(every, task, model)
    chosen = next((one for one in fitting if one.name == run), None)
    return Choice(task, model, chosen or min(fitting, key=lambda one: not is_measured(one), default=None))


def settle_run(name: object, every: Sequence[Run] | None = None) -> Choice | None:
    """The choice that shows this run, or None for a name that we do not know."""
    every = runs.all() if every is None else every
    run = next((one for one in every if one.name == name and not one.damage), None)
    if run is None or run.config.task not in tasks.names():
        return None
    return Choice(run.config.task, model_key(run.config.model), run)


def from_query(query: Mapping[str, str], every: Sequence[Run] | None = None) -> Choice:
    """`?task=…&model=…&run=…`; a run alone is enough, for it knows its task and model."""
    every = runs.all() if every is None else every
    named = settle_run(query.get("run"), every)
    task, model = query.get("task"), query.get("model")
    if named and task in (None, named.task) and model in (None, named.model) and is_usable(named.run):
        return named
    if task is None and model is None:
        return _first(every)
    return settle(task, model, query.get("run"), every)


def missed(query: Mapping[str, str], chosen: Choice, every: Sequence[Run]) -> str:
    """Why the run that a link asks for is not the one shown, and which one is; "" if it is or none was asked for."""
    name = query.get("run") or NO_RUN
    if name in (NO_RUN, chosen.run_name):
        return ""
    run = next((one for one in every if one.name == name), None)
    instead = f"; this is {chosen.run_name}." if chosen.run else "."
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    if run is None:
        return f"There is no run '{shown}' here{instead}"
    if run.damage:
        return f"The run '{shown}' is damaged{instead}"
    if not is_usable(run):
        return f"The run '{shown}' has no result to show{instead}"
    return f"The run '{shown}' is of another task or model{instead}"


def _first(every: Sequence[Run]) -> Choice:
    """Without a wish: the newest measured run of one's own, else the shipped one of the first task, else any."""
    shown = [run for run in every if is_usable(run) and settle_run(run.name, every)]
    shown.sort(key=lambda run: (not is_measured(run), run.shipped, run.shipped and run.config.task != default_task()))
    return settle_run(shown[0].name, every) if shown else settle(None, None, None, every)


def default_task() -> str:
    return "sst2" if "sst2" in tasks.names() else tasks.names()[0]


def tasks_offered() -> list[tuple[str, str]]:
    """(what people read, name), SST-2 first."""
    names = sorted(tasks.names(), key=lambda name: (name != default_task(), name))
    return [(tasks.find(name).title, name) for name in names]


def models_offered(every: Sequence[Run]) -> list[tuple[str, str]]:
    """(`mini, 5M`, key): the rows of the table, then models of runs made from the command line."""
    rows = [(_with_size(row.title, words.size(row.parameters)), row.key) for row in models.MODELS]
    known = {key for _, key in rows}
    others = dict.fromkeys(model_key(run.config.model) for run in every if not run.damage)
    return rows + [(key.rstrip("/").rpartition("/")[2] or key, key) for key in others if key not in known]


def _with_size(title: str, size: str) -> str:
    return (
        title
        if not size or any(word.rstrip("MB") == size.rstrip("MB") for word in title.split())
        else f"{title}, {size}"
    )


def runs_offered(every: Sequence[Run], task: str, model: str) -> list[tuple[str, str]]:
    """(`LoRA, official, shipped`, name) of the runs to look at; one entry `none yet` when there are none."""
    fitting = runs_of(every, task, model)
    titles = [f"{run.name}: {run.title()}" if has_own_name(run) else run.title() for run in fitting]
    twice = {title for title, times in Counter(titles).items() if times > 1}
    labels = [f"{title} ({run.name})" if title in twice else title for title, run in zip(titles, fitting, strict=True)]
    return list(zip(labels, (run.name for run in fitting), strict=True)) or [("none yet", NO_RUN)]


def has_own_name(run: Run) -> bool:
    """Whether somebody named the run; `runs.create` makes the other names from task, model, method and time."""
    made = rf".+-{run.config.resolved().method}-\d{{8}}-\d{{6}}(-\d+)?"
    return not run.shipped and not re.fullmatch(made, run.name, re.IGNORECASE)


def runs_of(every: Sequence[Run], task: str, model: str) -> list[Run]:
    """The runs of this task and model that have something to show, in the order given."""
    return [run for run in every if is_of(run, task, model) and is_usable(run)]


def is_of(run: Run, task: str, model: str) -> bool:
    return not run.damage and run.config.task == task and model_key(run.config.model) == model


def is_usable(run: Run) -> bool:
    """Whether the run has a result or weights; cheap enough to ask of every run."""
    if run.damage or run.state().kind not in USABLE:
        return False
    places = (run.path / "metrics.json", run.adapter / "adapter_config.json", run.model_dir / "config.json")
    return any(place.exists() for place in places)


def is_measured(run: Run) -> bool:
    """Whether the run ended with a result."""
    return run.state().kind == "finished" and (run.path / "metrics.json").exists()


def model_key(name: str) -> str:
    """The key of a model's row; any other model goes by its own name."""
    return next((row.key for row in models.MODELS if name in (row.key, row.source)), name)


def model_title(key: str) -> str:
    return next((row.title for row in models.MODELS if row.key == key), key.rstrip("/").rpartition("/")[2] or key)
