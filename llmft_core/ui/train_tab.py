"""Train: describe a run, start it, watch it learn. What is shown is read from its folder: a reload changes nothing."""

import functools
import threading
import time
from typing import NamedTuple

import gradio as gr
from gradio.components.plot import PlotData

from llmft_core import api, checks, config, frames, jobs, models, runs, tasks, words
from llmft_core.run import Run
from llmft_core.ui import before, choice, html, live, machine, settings
from llmft_core.ui.choice import Choice
from llmft_core.ui.page import Move, Page, View

TITLE = "Train"
TWICE = 3.0  # seconds within which the same start again is a double click
_starting, _drawing = threading.Lock(), threading.Lock()


def build(page: Page) -> View:
    tab = Train()
    tab.layout()
    page.later(tab.connect)
    inputs = [tab.watched, tab.preset, *tab.settings.values()]
    return View(tab.draw, tab.outputs, inputs, tab.pulse, [tab.watched], places=(tab.watched,))


class Train:
    def layout(self) -> None:
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self._form()
            with gr.Column(scale=2, min_width=300):
                gr.HTML(html.title("Before you start"), apply_default_css=False)
                self.facts = gr.HTML("", apply_default_css=False, elem_id="facts")
                self.command = gr.Textbox(
                    label="The same from a terminal", interactive=False, buttons=["copy"], lines=2, max_lines=8,
                    elem_classes="mono", elem_id="command",
                )  # fmt: skip
                self.start = gr.Button("Start fine-tuning", variant="primary", elem_id="start")
                self.why = gr.HTML("", apply_default_css=False, elem_id="start-error")
        with gr.Column(visible=False, elem_classes="gap section-top") as self.live:
            self._live()
        self.watched = gr.Textbox("", visible="hidden", label="watched run", interactive=True)
        self.form_outputs = [
            self.head,
            self.preset,
            *self.settings.values(),
            self.facts,
            self.command,
            self.start,
            self.why,
        ]
        self.live_outputs = [
            self.live, self.status, self.cancel, self.open_row, self.resume_row, self.curves, self.loss,
            self.probe_head, self.probe, self.log_fold, self.log, self.watched,
        ]  # fmt: skip
        self.outputs = self.form_outputs + self.live_outputs

    def _form(self) -> None:
        self.head = gr.HTML("", apply_default_css=False, elem_id="train-head")
        self.preset = gr.Radio(
            settings.cards(choice.default_task(), models.MODELS[0].key), value="demo", label="Preset", interactive=True,
            elem_classes="cards", elem_id="preset",
        )  # fmt: skip
        fold = gr.Accordion("More settings", open=False, elem_classes="fold", elem_id="more")
        with fold, gr.Row(elem_classes="settings"):
            self.settings = settings.controls()

    def _live(self) -> None:
        with gr.Row(elem_classes="ask"):
            self.status = gr.HTML("", apply_default_css=False, elem_id="live")
            self.cancel = gr.Button("Cancel", variant="stop", size="md", scale=0, min_width=110, elem_id="cancel")
        with gr.Row(elem_classes="buttons", visible=False) as self.open_row:
            self.open = {
                name: gr.Button(
                    f"Open in {name.capitalize()}", size="md", scale=0, min_width=130, elem_id=f"open-{name}"
                )
                for name in ("try", "results", "weights")
            }
        with gr.Row(elem_classes="buttons", visible=False) as self.resume_row:
            self.resume = gr.Button("Resume", size="md", scale=0, min_width=110, elem_id="resume")
        with gr.Row(visible=False) as self.curves:
            with gr.Column(min_width=300, elem_classes="tight"):
                gr.HTML(html.chart_title("Loss", "on answer tokens"), apply_default_css=False)
                self.loss = gr.Plot(show_label=False, container=False, label="Loss by step", elem_id="loss")
            with gr.Column(min_width=300, elem_classes="tight"):
                self.probe_head = gr.HTML("", apply_default_css=False)
                self.probe = gr.Plot(show_label=False, container=False, label="Score by step", elem_id="probe")
        with gr.Accordion("Log", open=False, visible=False, elem_classes="fold", elem_id="log") as self.log_fold:
            self.log = gr.HTML("", apply_default_css=False)

    def connect(self, page: Page) -> None:
        form = [page.task, page.model, self.preset, *self.settings.values()]
        changed = [self.facts, self.command, self.why, *self.settings.values()]
        page.on(self.preset.input, self.on_form, form, changed)
        page.on(self.settings["method"].input, self.on_form, form, changed)
        typed = functools.partial(gr.on, [control.change for control in self.settings.values()])
        page.on(typed, self.on_setting, form, [self.facts, self.command, self.why], trigger_mode="always_last")
        pressed = page.on(self.start.click, _starting_up, [], [self.start], trigger_mode="once")
        page.moves(pressed.then, self.on_start, form)
        page.moves(self.cancel.click, self.on_cancel, [self.watched], trigger_mode="once")
        page.moves(self.resume.click, self.on_resume, [self.watched], trigger_mode="once")
        for name, button in self.open.items():
            page.moves(button.click, lambda run, name=name: Move(run=run, tab=name), [self.watched])

    # ---- the form --------------------

    def draw(self, chosen: Choice, watched, preset, *values) -> dict:
        preset = preset if preset in config.PRESETS else "demo"
        why = machine.why_no_training()
        title, model = tasks.find(chosen.task).title, choice.model_title(chosen.model)
        return {
            self.head: html.title(f"Fine-tune {model} on {title}", "Task and model are the ones chosen above."),
            self.preset: gr.Radio(choices=settings.cards(chosen.task, chosen.model), value=preset),
            self.start: gr.Button("Start fine-tuning", interactive=not why),
            **self._form_said(chosen.task, chosen.model, preset, values),
            **self._hints(chosen, preset, values),
            **({self.why: html.note(why)} if why else {}),
            **self.pulse(chosen, watched),
        }

    def on_form(self, task, model, preset, *values) -> dict:
        chosen = choice.settle(task, model, None)
        said = self._form_said(chosen.task, chosen.model, preset, values)
        return said | (self._hints(chosen, preset, values) if preset in config.PRESETS else {})

    def on_setting(self, task, model, preset, *values) -> dict:
        chosen = choice.settle(task, model, None)
        return self._form_said(chosen.task, chosen.model, preset, values)

    def _form_said(self, task: str, model: str, preset: str, values) -> dict:
        """Facts and command line of what the form says now; what is wrong with it stands under the button."""
        named = dict(zip(self.settings, values, strict=False))
        try:
            wanted = settings.make(task, model, preset, named)
        except ValueError as error:
            return {self.why: html.error("This cannot be started", str(error))}
        why = machine.why_no_training()
        return {
            self.facts: html.facts(before.facts(wanted, runs.all())), self.why: html.note(why) if why else "",
            self.command: settings.command(task, model, preset, named),
        }  # fmt: skip

    def _hints(self, chosen: Choice, preset: str, values) -> dict:
        """An empty setting shows what the preset and the method make of it."""
        method = dict(zip(self.settings, values, strict=False)).get("method") or ""
        hints = settings.hints(preset, chosen.task, chosen.model, method)
        return {self.settings[name]: hint for name, hint in hints.items()}

    # ---- start, cancel, resume --------------------

    def on_start(self, task, model, preset, *values) -> Move:
        try:
            if why := machine.why_no_training():
                raise ValueError(why)
            chosen = choice.settle(task, model, None)
            named = settings.given(dict(zip(self.settings, values, strict=False)))
            start_once(checks.prepare(task=chosen.task, model=chosen.model, preset=preset, **named))
        except (ValueError, jobs.CallFailed) as error:
            return Move(more={self.why: html.error("It was not started", str(error))})
        return Move(tab="train")

    def on_cancel(self, name) -> Move:
        return self._attempt(name, jobs.stop_in_background)

    def on_resume(self, name) -> Move:
        return self._attempt(name, jobs.resume)

    def _attempt(self, name, deed) -> Move:
        run = next((one for one in runs.all() if one.name == name and not one.shipped), None)
        try:
            if why := machine.why_no_training():
                raise ValueError(why)
            if run is not None:
                deed(run)
        except ValueError as error:
            return Move(more={self.why: html.error("Not done", str(error))})
        return Move()

    # ---- the run that is watched --------------------

    def pulse(self, chosen: Choice, watched="") -> dict:
        """The lower half: the run at work, or how the last one ended."""
        run = live.watched(runs.all(), chosen.task, chosen.model, choice.is_of, watched or "")
        if run is None:
            return {self.live: gr.Column(visible=False), self.watched: ""}
        state = run.state()
        said = run.history()
        with _drawing:  # who comes meanwhile waits for the drawing instead of making it too
            curves = _curves(run, len(said), said[-1].at if said else 0.0)
        log = run.log_tail(60)
        return {
            self.live: gr.Column(visible=True), self.watched: run.name, self.status: status(run),
            self.cancel: gr.Button(visible=state.is_active, interactive=not is_stopping(run)),
            self.open_row: gr.Row(visible=choice.is_usable(run)),
            self.resume_row: gr.Row(visible=state.kind in ("failed", "cancelled", "died")),
            self.curves: gr.Row(visible=curves.drawn), self.loss: curves.loss, self.probe: curves.probe,
            self.probe_head: curves.probe_head,
            self.log_fold: gr.Accordion(visible=bool(log)), self.log: html.log(log),
        }  # fmt: skip


class Curves(NamedTuple):
    """What the page shows of a learning curve."""

    drawn: bool
    loss: PlotData
    probe: PlotData
    probe_head: str


@functools.lru_cache(maxsize=8)
def _curves(run: Run, said: int, at: float) -> Curves:
    """Drawn and written as JSON once for all who watch: `said` is how much the run has said, and `at` when it did."""
    from llmft_core import charts  # plotly: the first page need not wait for it

    curve = frames.learning_curve(run)
    curve.loc[(curve["step"] == 0) & curve["value"].notna(), "side"] = "zero_shot"  # nothing is learnt by step 0
    probes = curve.dropna(subset=["value"]) if len(curve) else curve
    drawn = charts.loss_curve(curve), charts.probe_curve(curve)
    loss, probe = (PlotData(type="plotly", plot=figure.to_json()) for figure in drawn)
    return Curves(len(curve) > 0, loss, probe, _probe_head(probes))


def _starting_up() -> gr.Button:
    return gr.Button("Starting", interactive=False)


def is_stopping(run: Run) -> bool:
    """Whether somebody has asked the run to stop and it has not yet."""
    return run.state().is_active and (run.path / "stop").exists()


def start_once(wanted: config.RunConfig) -> Run:
    """Make the run and start it; the same settings again within three seconds are the same run (a double click)."""
    with _starting:
        for run in runs.all():
            if not run.shipped and run.config == wanted and time.time() - run.created() < TWICE:
                return run
        return api.begin(wanted)


def status(run: Run) -> str:
    """Which run the lower half shows, and how far it is: what Cancel and Resume act on."""
    return html.note(f"The run {run.name}") + _how_far(run)


def _how_far(run: Run) -> str:
    """Queued, running, done, or what went wrong."""
    state = run.state()
    if is_stopping(run):
        return html.title("Stopping", "It ends after the step at hand; what is learnt so far is kept.")
    if state.kind == "running":
        now = live.progress(run)
        return html.progress(now.head, now.stage, now.share, f"{now.facts} · Cancel keeps what is learnt so far")
    if state.kind == "queued":
        ahead = run.ahead()
        waits = f"{ahead} run{'s' if ahead != 1 else ''} ahead." if ahead else "It begins in a moment."
        return html.title("Queued", waits)
    if state.kind == "finished":
        said = words.verdict(run.metrics())
        return html.box(
            f"Done in {words.duration(run.seconds())}",
            said.text,
            "ok" if said.kind == "better" else "err" if said.kind == "worse" else "",
        )
    if state.kind == "cancelled":
        return html.box(f"Cancelled {state.detail}", "What was learnt so far is kept: try it, or resume the run.")
    if state.kind == "died":
        return html.error("Interrupted", state.detail)
    return html.error(_failed_at(run), state.detail)


def _failed_at(run: Run) -> str:
    step = next((event.step for event in reversed(run.history()) if event.kind == "step"), None)
    reason = live.REASONS.get(run.state().reason, "an error")
    return f"Stopped at step {words.count(step)}: {reason}" if step else f"Stopped: {reason}"


def _probe_head(probes) -> str:
    if probes.empty:
        return html.chart_title("Score", "on held-out training examples")
    last = probes.iloc[-1]
    name = words.metric(str(last["metric"])).title
    return html.chart_title(name, f"on {words.count(last['n'])} held-out training examples, 95 % interval")
