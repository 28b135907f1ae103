"""Weights: which layers moved and how far, what lies behind one cell of the map, and how many numbers there are."""

import gradio as gr

from llmft_core import frames, words
from llmft_core.run import Run
from llmft_core.ui import choice, html
from llmft_core.ui.choice import Choice
from llmft_core.ui.page import Move, Page, View

TITLE = "Weights"
SIZE = "Size of the change relative to the original weights, ‖ΔW‖ / ‖W₀‖. Choose a cell."
STILL = (
    "Every tensor is where it was, or within what rounding alone does. Look at its loss: has the run learnt anything?"
)
TOP = 12
# A click on the map is heard here and handed on as a selection; the figure is found again whenever it is drawn anew.
HEAR_CLICKS = """setInterval(() => {
  const figure = document.querySelector('#heat .js-plotly-plot');
  if (!figure || !figure.on || figure.heard) return;
  figure.heard = true;
  figure.on('plotly_click', event => {
    const cell = event.points[0] && event.points[0].customdata;
    if (cell) trigger('select', {index: cell, value: cell.join('|')});
  });
}, 400);"""


def build(page: Page) -> View:
    tab = Weights()
    tab.layout()
    page.later(tab.connect)
    return View(tab.draw, tab.outputs, [tab.cell])


class Weights:
    def layout(self) -> None:
        self.empty = gr.HTML("", apply_default_css=False, elem_id="weights-empty")
        self.train = gr.Button("Go to Train", variant="primary", scale=0, min_width=140, visible=False)
        with gr.Column(visible=False, elem_classes="gap") as self.body:
            self.still = gr.HTML("", apply_default_css=False)
            with gr.Row():
                with gr.Column(scale=5, min_width=300, elem_classes="tight"):
                    gr.HTML(html.title("Where the weights moved", SIZE), apply_default_css=False)
                    self.heat = gr.Plot(
                        show_label=False, container=False, label="Change by layer and module", elem_id="heat"
                    )
                    self.heat_note = gr.HTML("", apply_default_css=False)
                with gr.Column(scale=4, min_width=300):
                    self.cell = gr.Dropdown([], label="Cell", filterable=False, interactive=True, elem_id="cell")
                    self.facts = gr.HTML("", apply_default_css=False, elem_id="cell-facts")
                    self.spectrum = gr.Plot(
                        show_label=False, container=False, label="Singular values", elem_id="spectrum"
                    )
            self.numbers_head = gr.HTML("", apply_default_css=False)
            self.numbers = gr.HTML("", apply_default_css=False, elem_id="parameters")
            gr.HTML(html.title("Tensors that moved most", section=True), apply_default_css=False)
            self.top = gr.HTML("", apply_default_css=False, elem_id="top-tensors")
        self.clicks = gr.HTML("<span></span>", js_on_load=HEAR_CLICKS, elem_classes="ears", apply_default_css=False)
        self.outputs = [
            self.empty, self.train, self.body, self.still, self.heat, self.heat_note, self.cell, self.facts,
            self.spectrum, self.numbers_head, self.numbers, self.top,
        ]  # fmt: skip

    def connect(self, page: Page) -> None:
        page.moves(self.train.click, lambda: Move(tab="train"))
        who = [page.task, page.model, page.run]
        panel = [self.heat, self.cell, self.facts, self.spectrum]
        page.on(self.cell.input, self.on_cell, [*who, self.cell], panel)
        page.on(self.clicks.select, self.on_click, who, panel)

    def draw(self, chosen: Choice, cell) -> dict:
        grid = frames.weight_grid(chosen.run) if chosen.run else None
        if grid is None or grid.empty:
            return self._nothing(chosen)
        run = chosen.run
        moved = frames.has_moved(run)
        return {
            self.empty: "", self.train: gr.Button(visible=False), self.body: gr.Column(visible=True),
            self.still: html.error("Nothing changed", STILL) if moved is False else "",
            self.heat_note: html.note(_heat_note(run)),
            self.numbers_head: html.title("How many numbers", _architecture(run), section=True),
            self.numbers: _parameters(run), self.top: _top(run), **self._panel(run, grid, cell),
        }  # fmt: skip

    def _nothing(self, chosen: Choice) -> dict:
        says = "There is no fine-tuned run for this task and model. Start one in Train, or choose another above."
        return {
            self.empty: html.empty("No weights to compare yet", _why_none(chosen.run) if chosen.run else says),
            self.train: gr.Button(visible=True), self.body: gr.Column(visible=False),
        }  # fmt: skip

    def _panel(self, run: Run, grid, wanted) -> dict:
        """The map with one cell framed, and the facts of that cell; the largest one until somebody chooses."""
        from llmft_core import charts  # plotly: the first page need not wait for it

        cells = list(zip(grid["layer"], grid["module"], grid["short"], strict=True))
        keys = {f"{layer}|{module}": (int(layer), module) for layer, module, _ in cells}
        key = wanted if wanted in keys else list(keys)[int(grid["relative_change"].fillna(0).to_numpy().argmax())]
        layer, module = keys[key]
        choices = [(f"Layer {layer}, {short}", f"{layer}|{module}") for layer, module, short in cells]
        spectrum = frames.singular_values(run, layer, module)
        return {
            self.heat: charts.weight_heatmap(grid, (layer, module)), self.cell: gr.Dropdown(choices=choices, value=key),
            self.facts: html.facts(frames.tensor_facts(run, layer, module)),
            self.spectrum: gr.Plot(value=charts.singular_values(spectrum), visible=len(spectrum) > 0),
        }  # fmt: skip

    def on_cell(self, task, model, run, cell) -> dict:
        chosen = choice.settle(task, model, run)
        grid = frames.weight_grid(chosen.run) if chosen.run else None
        return {self.facts: gr.skip()} if grid is None or grid.empty else self._panel(chosen.run, grid, cell)

    def on_click(self, event: gr.SelectData, task, model, run) -> dict:
        return self.on_cell(task, model, run, str(event.value))


def _why_none(run: Run) -> str:
    """Why there is nothing to see of this run, and what to do: only one that stopped on its way can be resumed."""
    try:
        run.weights()
    except ValueError as error:
        return str(error)
    state = run.state()
    if state.is_active:
        return "This run is still at work: its weights are compared when it has learnt."
    if state.kind == "finished" or run.shipped or run.damage:
        return "This run holds no comparison of its weights. Choose another above, or start one in Train."
    return "This run ended before its weights were compared. Resume it in Runs, or start another in Train."


def _heat_note(run: Run) -> str:
    top = frames.top_tensors(run, 1)
    if top.empty:
        return "Nothing moved."
    largest = top.iloc[0]
    share = words.percent(largest["relative_change"], digits=2)
    return f"Largest: {largest['tensor']}, {share}. A dash marks what rounding alone could do."


def _architecture(run: Run) -> str:
    if run.config.resolved().method == "lora":
        return "The architecture is unchanged: the adapter can be merged into the same shapes."
    return "The architecture is unchanged: every tensor keeps its shape."


def _parameters(run: Run) -> str:
    table = frames.parameter_table(run)
    return html.table(("Parameters", "Zero-shot", "Fine-tuned", "Change"), table.itertuples(index=False, name=None))


def _top(run: Run) -> str:
    heads = ("Tensor", "Relative change", "1 − cosine", "Entries changed", "Stable rank", "Parameters")
    lines = (
        (row.tensor, words.percent(row.relative_change, digits=2), words.cosine_gap(row.one_minus_cosine),
         words.percent(row.share_changed), words.decimal(row.stable_rank), words.count(row.parameters))
        for row in frames.top_tensors(run, TOP).itertuples(index=False)
    )  # fmt: skip
    return (
        html.table(heads, lines)
        .replace(
            '<table class="t num">',
            '<div class="scroll" tabindex="0" role="region" aria-label="Tensors"><table class="t num">',
        )
        .replace("</table>", "</table></div>")
    )
