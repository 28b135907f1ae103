"""The frame around the tabs: header, the three choices, the verdict; and who redraws what when a choice changes.

Tabs know nothing of each other. Each hands a `View` to the page: how to draw it for a choice. Only the open
tab is drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from llmft_core import jobs, runs, words
from llmft_core.ui import choice, html, machine
from llmft_core.ui.choice import Choice
from llmft_core.ui.pace import BEATS, Pace
from llmft_core.ui.told import Board, Told

# What the URL keeps, so that a reload and a shared link show the same page.
KEEP_IN_URL = """(task, model, run, tab) => {
  if (!tab) return;
  const url = new URL(window.location);
  for (const [key, value] of Object.entries({task, model, run, tab}))
    value ? url.searchParams.set(key, value) : url.searchParams.delete(key);
  window.history.replaceState({}, '', url);
}"""
# Before the page has arrived: the tab of the URL is opened at once, so that no other one flashes by.
OPEN_FROM_URL = """(...values) => {
  const tab = new URL(window.location).searchParams.get('tab');
  const button = tab && /^[a-z]+$/.test(tab) && document.getElementById(`tab-${tab}-button`);
  if (button) button.click();
  return values;
}"""
SWITCH_THEME = """() => {
  const dark = document.body.classList.toggle('dark');
  const url = new URL(window.location);
  url.searchParams.set('__theme', dark ? 'dark' : 'light');
  window.history.replaceState({}, '', url);
}"""
QUIET = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass
class View:
    """A tab as the page sees it. `draw(choice, *inputs)` gives {component: new value}; `pulse(choice, *moves_with)`,
    asked at each beat while a run is active, only what moves: all pages with equal values there are told the same."""

    draw: Callable[..., dict]
    outputs: list
    inputs: list = field(default_factory=list)
    pulse: Callable[..., dict] | None = None
    moves_with: list = field(default_factory=list)  # some of the inputs
    places: tuple = ()  # inputs of this tab that another tab may fill


class Move(NamedTuple):
    """Where a handler wants to go: another run, another tab; None keeps what is there. `more` are updates beside it,
    which a tab sees when it is drawn."""

    run: str | None = None
    tab: str | None = None
    more: dict | None = None


class Page:
    """Made inside gr.Blocks; `top()` draws the frame, then each tab registers its view, then `wire()` connects all."""

    def __init__(self, speaker: Any = None):
        self.speaker = speaker or jobs.Speaker()
        self.pace, self.board = Pace(), Board()
        self.views: dict[str, View] = {}
        self.tab_items: dict[str, gr.Tab] = {}
        self.waiting: list[Callable[[Page], None]] = []

    def top(self) -> None:
        with gr.Row(elem_classes="head"):
            gr.HTML(html.header(machine.device()), apply_default_css=False)
            self.theme = gr.Button("Light / dark", size="sm", scale=0, min_width=96, elem_classes="quiet")
        every = runs.all()
        self.first = first = choice.from_query({}, every)
        with gr.Row(elem_id="choices"):
            self.task = gr.Dropdown(
                choice.tasks_offered(), value=first.task, label="Task", filterable=False, interactive=True,
                min_width=150, elem_id="task",
            )  # fmt: skip
            self.model = gr.Dropdown(
                choice.models_offered(every), value=first.model, label="Model", filterable=False, interactive=True,
                min_width=150, elem_id="model",
            )  # fmt: skip
            self.run = gr.Dropdown(
                choice.runs_offered(every, first.task, first.model), value=first.run_name, label="Fine-tuned run",
                filterable=False, interactive=True, min_width=300, elem_id="run",
            )  # fmt: skip
        self.missed = gr.HTML("", elem_id="missed", apply_default_css=False)
        self.verdict = gr.HTML(verdict_html(first), elem_id="verdict", apply_default_css=False)
        self.open_tab = gr.Textbox("", visible="hidden", label="open tab", interactive=True, elem_id="open-tab")
        self.seen = gr.Textbox("", visible="hidden", label="seen", interactive=True)
        self.timer = gr.Timer(BEATS[0], active=False)

    # ---- events --------------------

    def on(self, event: Callable, fn: Callable | None, inputs: Sequence = (), outputs: Sequence = (), **more):
        """An event of our own page: not part of any API, without a spinner, values taken as the browser sends them."""
        return event(fn, list(inputs), list(outputs), **QUIET, preprocess=False, **more)

    def wire(self, demo: gr.Blocks) -> None:
        """Connect the choices, the tabs and the pulse, after all views are known."""
        self.theme.click(None, None, None, js=SWITCH_THEME, api_visibility="private")
        self.inputs = [self.task, self.model, self.run, self.open_tab]
        self.extra = [component for view in self.views.values() for component in view.inputs]
        frame = [self.task, self.model, self.run, self.missed, self.verdict, self.tabs]
        frame += [self.open_tab, self.seen, self.timer]
        self.outputs = list(dict.fromkeys(frame + [out for view in self.views.values() for out in view.outputs]))
        self.on(demo.load, self.arrive, self.extra, self.outputs, js=OPEN_FROM_URL)
        for box in (self.task, self.model, self.run):
            self._keep(self.on(box.input, self.choose, self.inputs + self.extra, self.outputs))
        for name, item in self.tab_items.items():
            self._keep(self.on(item.select, partial(self.show, name), [*self.inputs, *self.extra], self.outputs))
        watched = [self.timer, self.seen, *self.inputs, *self.extra]
        # Past the queue, which costs the server more than the look itself: nobody waits for a look.
        self._keep(self.on(self.timer.tick, self.pulse, watched, self.outputs, queue=False))
        for connect in self.waiting:
            connect(self)

    def later(self, connect: Callable[["Page"], None]) -> None:
        """Call `connect(page)` when all tabs are there: for events that lead from one tab to another."""
        self.waiting.append(connect)

    def moves(self, event: Callable, fn: Callable[..., Move], inputs: Sequence = (), **more):
        """An event whose handler, fn(*values of inputs), says where to go (`Move`); the page is redrawn there."""

        def go(*values):
            mine, rest = values[: len(inputs)], values[len(inputs) :]
            return self._go(fn(*mine), *rest)

        return self._keep(self.on(event, go, [*inputs, *self.inputs, *self.extra], self.outputs, **more))

    def picks(self, component, fn: Callable[..., Move], inputs: Sequence = (), **more):
        """Like `moves`, when something of a list of ours is chosen: fn(key, *values of inputs)."""

        def go(event: gr.SelectData, *values):
            mine, rest = values[: len(inputs)], values[len(inputs) :]
            return self._go(fn(str(event.value), *mine), *rest)

        return self._keep(self.on(component.select, go, [*inputs, *self.inputs, *self.extra], self.outputs, **more))

    def _keep(self, event):
        """Then write the choices into the URL."""
        return event.then(None, self.inputs, None, js=KEEP_IN_URL, **QUIET)

    # ---- handlers --------------------

    def arrive(self, request: gr.Request, *extra) -> dict:
        """A page is loaded: the URL says what to show."""
        query = dict(request.query_params) if request else {}
        tab = query.get("tab") if query.get("tab") in self.tab_items else next(iter(self.tab_items))
        every = runs.all()
        chosen = choice.from_query(query, every)
        said = {self.tabs: gr.Tabs(selected=tab), self.missed: html.note(choice.missed(query, chosen, every))}
        return self._frame(chosen, every) | said | self._tab(tab, chosen, extra)

    def choose(self, task, model, run, tab, *extra) -> dict:
        self.board.wipe()
        every = runs.all()
        chosen = choice.settle(task, model, run, every)
        return self._frame(chosen, every) | self._tab(tab, chosen, extra)

    def show(self, tab: str, task, model, run, open_tab, *extra) -> dict:
        """A tab is opened by hand. Gradio also says so of the first tab before `arrive`, and of our own moves."""
        if not open_tab or open_tab == tab:
            return {self.open_tab: gr.skip()}
        return self.choose(task, model, run, tab, *extra)

    def _go(self, move: Move, task, model, run, tab, *extra) -> dict:
        self.board.wipe()
        every = runs.all()
        chosen = (move.run and choice.settle_run(move.run, every)) or choice.settle(task, model, run, every)
        if chosen.run and not choice.is_usable(chosen.run):
            chosen = choice.settle(chosen.task, chosen.model, run, every)
        target, more = move.tab or tab, move.more or {}
        extra = [more.get(box, value) for box, value in zip(self.extra, extra, strict=False)]
        said = self._frame(chosen, every) | self._tab(target, chosen, extra) | more
        return said | ({self.tabs: gr.Tabs(selected=target)} if move.tab else {})

    def pulse(self, request: gr.Request, beat, seen, *shown) -> dict:
        """At each beat while a run is active: nothing at all unless something was said, or the pace changes."""
        beat = beat or BEATS[0]
        wanted = self.pace.beat(request.session_hash, beat)
        key = repr((wanted, kinds(seen), self._drawn_from(*shown)))
        told = self.board.tell(key, min(beat, wanted), partial(self._news, seen, wanted, *shown))
        if told and told[self.seen] != seen:
            return told
        return {self.seen: gr.skip()} if wanted == beat else {self.timer: gr.Timer(value=wanted)}

    def _drawn_from(self, task, model, run, tab, *extra) -> tuple:
        """What of a page decides, beside the runs, what it is told at a beat."""
        view = self.views.get(tab)
        return task, model, run, tab, self._values(view.moves_with, extra) if view else []

    def _news(self, seen, wanted: float, task, model, run, tab, *extra) -> Told | None:
        """What has changed since `seen`; None if nothing has."""
        every = runs.all()
        now = signature(every)
        if now == seen:
            return None
        chosen = choice.settle(task, model, run, every)
        said = self._frame(chosen, every) if kinds(seen) != kinds(now) else {self.seen: now}
        view = self.views.get(tab)
        moved = view.pulse(chosen, *self._values(view.moves_with, extra)) if view and view.pulse else {}
        return Told(said | {self.timer: gr.Timer(value=wanted, active=is_active(said[self.seen]))} | moved)

    def _frame(self, chosen: Choice, every: Sequence[runs.Run]) -> dict:
        seen = signature(every)  # before all that is drawn: what changes in the meantime is seen at the next beat
        return {
            self.task: chosen.task,
            self.model: gr.Dropdown(choices=choice.models_offered(every), value=chosen.model),
            self.run: gr.Dropdown(choices=choice.runs_offered(every, chosen.task, chosen.model), value=chosen.run_name),
            self.missed: "",
            self.verdict: verdict_html(chosen),
            self.seen: seen,
            self.timer: gr.Timer(value=BEATS[0], active=is_active(seen)),
        }

    def _tab(self, tab: str, chosen: Choice, extra: Sequence) -> dict:
        view = self.views.get(tab)
        return {self.open_tab: tab} | (view.draw(chosen, *self._values(view.inputs, extra)) if view else {})

    def _values(self, boxes: Sequence, extra: Sequence) -> list:
        """What stands in these inputs of tabs, of all that a page sends."""
        values = dict(zip(self.extra, extra, strict=False))
        return [values.get(box) for box in boxes]


def verdict_html(chosen: Choice) -> str:
    said = words.verdict(chosen.metrics)
    hint = ""
    if chosen.run is None:
        hint = "Start one in Train: about a minute here." if chosen.model == "mini" else "Start one in Train."
    elif not chosen.metrics:
        said = words.Verdict("none", (words.Piece("This run was stopped before it was measured.", "plain"),))
        hint = "Try it, or resume it in Runs."
    return html.verdict(said, hint)


def signature(every: Sequence[runs.Run]) -> str:
    """Everything that can be seen of runs changing, as one short text; equal texts need no redraw."""
    parts = []
    for run in every:
        if run.shipped:
            continue
        state = run.state()
        parts.append(f"{run.name}:{state.kind}:{len(run.history()) if state.is_active else ''}")
    return "|".join(parts)


def kinds(seen: str | None) -> list[str]:
    """Of each run that was seen its state: all that the frame around the tabs shows of it."""
    return [part.rpartition(":")[0] for part in (seen or "").split("|")]


def is_active(seen: str) -> bool:
    """Whether a run was active when this was seen; asked of the runs once more, one that has just ended is missed."""
    return any(runs.State(part.split(":")[1]).is_active for part in seen.split("|") if part)
