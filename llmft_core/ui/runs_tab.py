"""Runs: what was trained here and what ships, in which state; open one, stop it, resume it, delete it."""

import functools
from collections.abc import Callable, Sequence
from html import escape

import gradio as gr
import pandas as pd

from llmft_core import frames, jobs, runs, tasks
from llmft_core.run import Run
from llmft_core.ui import choice, html, live, machine, tables
from llmft_core.ui.choice import Choice
from llmft_core.ui.page import Move, Page, View

TITLE = "Runs"
HINT = "Choose a run. Runs marked shipped came with llmft and cannot be deleted."


def build(page: Page) -> View:
    tab = Runs(page.board.wipe)
    tab.layout()
    page.later(tab.connect)
    inputs = [tab.picked, tab.search]
    return View(tab.draw, tab.outputs, inputs, tab.pulse, inputs)


class Runs:
    """`wipe` is called where a row is drawn as it is now, so that its page is not told afterwards what was before."""

    def __init__(self, wipe: Callable[[], None] = lambda: None):
        self.wipe = wipe

    def layout(self) -> None:
        with gr.Row(elem_classes="ends"):
            self.search = gr.Textbox(
                label="Search", lines=1, max_lines=1, interactive=True, elem_id="run-search", scale=0, min_width=220
            )
        self.table = gr.HTML("", apply_default_css=False, js_on_load=tables.PICK, elem_id="run-table")
        self.error = gr.HTML("", apply_default_css=False, elem_id="runs-error")
        with gr.Row(elem_classes="buttons"):
            self.open = _button("Open", "run-open")
            self.stop = _button("Stop", "run-stop")
            self.resume = _button("Resume", "run-resume")
            self.delete = _button("Delete", "run-delete", "stop")
        with gr.Row(elem_classes="buttons question", visible=False) as self.confirm:
            self.question = gr.HTML("", apply_default_css=False)
            self.yes = gr.Button(
                "Delete it", variant="stop", size="md", scale=0, min_width=110, elem_id="run-delete-yes"
            )
            self.no = gr.Button("Keep it", size="md", scale=0, min_width=110, elem_id="run-delete-no")
        self.hint = gr.HTML(html.note(HINT), apply_default_css=False, elem_id="run-hint")
        self.picked = gr.Textbox("", visible="hidden", label="picked run", interactive=True)
        self.outputs = [
            self.table, self.error, self.open, self.stop, self.resume, self.delete, self.confirm, self.question,
            self.hint, self.picked,
        ]  # fmt: skip

    def connect(self, page: Page) -> None:
        page.on(self.table.select, self.on_pick, [self.search], self.outputs)
        page.on(
            self.search.change, self.on_search, [self.picked, self.search], self.outputs, trigger_mode="always_last"
        )
        (watched,) = page.views["train"].places
        page.moves(self.open.click, functools.partial(_open, watched), [self.picked])
        page.moves(self.stop.click, self.on_stop, [self.picked])
        page.moves(self.resume.click, self.on_resume, [self.picked])
        page.on(self.delete.click, _ask, [self.picked], [self.confirm, self.question])
        page.on(self.no.click, lambda: gr.Row(visible=False), [], [self.confirm])
        page.moves(self.yes.click, self.on_delete, [self.picked])

    # ---- handlers --------------------

    def draw(self, chosen: Choice, picked, search) -> dict:
        return self._shown(picked or chosen.run_name, search or "") | {self.error: ""}

    def pulse(self, chosen: Choice, picked, search) -> dict:
        """What may change by itself; a question that waits for an answer stays."""
        said = self._shown(picked or "", search or "")
        return {box: value for box, value in said.items() if box not in (self.confirm, self.picked)}

    def on_pick(self, event: gr.SelectData, search) -> dict:
        self.wipe()
        return self._shown(str(event.value), search or "") | {self.error: ""}

    def on_search(self, picked, search) -> dict:
        self.wipe()
        return self._shown(picked or "", search or "")

    def _shown(self, picked: str, search: str) -> dict:
        """The list, and what can be done with the run that is picked in it; with none that the search hides."""
        every = runs.all()
        frame = _held(every, search)
        run = next((one for one in every if one.name == picked and picked in set(frame["name"])), None)
        state = run.state() if run else None
        allowed = not machine.why_no_training()
        is_open = bool(run) and not run.damage
        can_stop = bool(run) and not run.shipped and state.is_active
        can_resume = is_open and not run.shipped and state.kind in ("failed", "cancelled", "died")
        can_delete = bool(run) and not run.shipped and not state.is_active
        return {
            self.picked: picked if run else "", self.table: _table(every, frame, picked),
            self.confirm: gr.Row(visible=False),
            self.open: gr.Button(interactive=is_open), self.stop: gr.Button(interactive=can_stop and allowed),
            self.resume: gr.Button(interactive=can_resume and allowed),
            self.delete: gr.Button(interactive=can_delete and allowed),
            self.hint: html.note(_said(run) or machine.why_no_training() or HINT),
        }  # fmt: skip

    def on_stop(self, name) -> Move:
        return self._attempt(name, jobs.stop_in_background)

    def on_resume(self, name) -> Move:
        return self._attempt(name, jobs.resume)

    def on_delete(self, name) -> Move:
        return self._attempt(name, lambda run: runs.delete(run.name))

    def _attempt(self, name, deed) -> Move:
        """Do it to a run that we know; what speaks against it is said in place."""
        run = next((one for one in runs.all() if one.name == name), None)
        try:
            if why := machine.why_no_training():
                raise ValueError(why)
            if run is None:
                raise ValueError("Choose a run in the list first.")
            deed(run)
        except ValueError as error:
            return Move(more={self.error: html.error("Not done", str(error))})
        return Move()


def _open(watched: gr.Textbox, name) -> Move:
    """A run with a result is read in Results; one without is watched in Train."""
    run = next((one for one in runs.all() if one.name == name), None)
    if run and choice.is_usable(run):
        return Move(run=name, tab="results")
    return Move(run=name, tab="train", more={watched: name})


def _ask(name) -> tuple:
    return gr.Row(visible=True), html.page(f"<p>Delete <b>{escape(str(name))}</b> for good, with its weights?</p>")


def _held(every: Sequence[Run], search: str) -> pd.DataFrame:
    """Rows of the runs that hold these letters, all without any."""
    frame = frames.runs_table(every)
    wanted = search.strip().lower()
    if not wanted or frame.empty:
        return frame
    texts = frame[["name", "state", "task", "model", "method"]].agg(" ".join, axis=1).str.lower()
    return frame[texts.str.contains(wanted, regex=False)]


def _table(every: Sequence[Run], frame: pd.DataFrame, picked: str) -> str:
    if not every:
        return html.empty("No runs yet", "What you train in Train is kept here, and stays when the app is closed.")
    if frame.empty:
        return html.note("No run holds these letters.")
    states = {run.name: live.state_words(run) for run in every}
    frame = frame.assign(state=[states[name] for name in frame["name"]])
    left = {run.name: live.left_words(run) for run in every if run.state().is_active}
    return tables.run_list(frame, picked, {name: tasks.find(name).title for name in tasks.names()}, left)


def _said(run) -> str:
    """What is to be said about the chosen run: why it failed, or what it is."""
    if run is None:
        return ""
    state = run.state()
    if state.kind in ("failed", "died"):
        return f"{run.name}: {state.detail}"
    return f"{run.name}: {run.title()}."


def _button(text: str, name: str, variant: str = "secondary") -> gr.Button:
    return gr.Button(text, variant=variant, size="md", scale=0, min_width=110, interactive=False, elem_id=name)
