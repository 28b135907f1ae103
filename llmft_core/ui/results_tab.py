"""Results: before and after in numbers, which answers were fixed or broken, and what lies behind the scores."""

import functools

import gradio as gr

from llmft_core import frames, rows, tasks, words
from llmft_core.run import Run
from llmft_core.tasks import Example, Task
from llmft_core.ui import choice, html, tables
from llmft_core.ui.choice import Choice
from llmft_core.ui.page import Move, Page, View

TITLE = "Results"
FLIPS = "Every test item is in one of four boxes. Choose a box to list its items"


def build(page: Page) -> View:
    tab = Results()
    tab.layout()
    page.later(tab.connect)
    return View(tab.draw, tab.outputs, [tab.flips, tab.search])


class Results:
    def layout(self) -> None:
        self.empty = gr.HTML("", apply_default_css=False, elem_id="results-empty")
        self.train = gr.Button("Go to Train", variant="primary", scale=0, min_width=140, visible=False)
        with gr.Column(visible=False, elem_classes="gap") as self.body:
            with gr.Column(elem_classes="tight"):
                self.table = gr.HTML("", apply_default_css=False, elem_id="metric-table")
                self.caption = gr.HTML("", apply_default_css=False)
            gr.HTML(html.title("Before and after", section=True), apply_default_css=False)
            with gr.Column(elem_classes="tight"):
                gr.HTML(html.key("zero", "tuned", "tick", "ceiling"), apply_default_css=False)
                self.dumbbells = _plot("Before and after", "dumbbells")
                self.dumbbell_note = gr.HTML("", apply_default_css=False)
            self._flips()
            self._trust()
        self.outputs = [
            self.empty, self.train, self.body, self.table, self.caption, self.dumbbells, self.dumbbell_note,
            self.flip_head, self.flips, self.items, self.trust, self.trust_chart, self.second, self.second_chart,
        ]  # fmt: skip

    def _flips(self) -> None:
        self.flip_head = gr.HTML("", apply_default_css=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                self.flips = gr.Radio(
                    [], label="Box", show_label=False, container=False, interactive=True, elem_classes="flips",
                    elem_id="flips",
                )  # fmt: skip
                self.search = gr.Textbox(
                    label="Search the list", lines=1, interactive=True, elem_id="item-search", max_lines=1
                )
            with gr.Column(scale=5, min_width=300):
                self.items = gr.HTML("", apply_default_css=False, js_on_load=tables.PICK, elem_id="items")

    def _trust(self) -> None:
        with gr.Row(elem_classes="section"):
            with gr.Column(scale=2, min_width=280):
                self.trust = gr.HTML("", apply_default_css=False)
            with gr.Column(scale=3, min_width=300):
                self.trust_chart = _plot("Probabilities", "trust")
        with gr.Row(elem_classes="section"):
            with gr.Column(scale=2, min_width=280):
                self.second = gr.HTML("", apply_default_css=False)
            with gr.Column(scale=3, min_width=300):
                self.second_chart = _plot("Answers", "answers")

    def connect(self, page: Page) -> None:
        page.moves(self.train.click, lambda: Move(tab="train"))
        who = [page.task, page.model, page.run, self.flips, self.search]
        for event in (self.flips.input, self.search.change):
            page.on(event, self.on_list, who, [self.items], trigger_mode="always_last")
        who = [page.task, page.model, page.run]
        page.picks(self.items, functools.partial(_try, page.views["try"].places), who)

    # ---- handlers --------------------

    def draw(self, chosen: Choice, box, search) -> dict:
        metrics = chosen.metrics
        if not metrics:
            return self._nothing(chosen)
        from llmft_core import charts  # plotly: the first page need not wait for it

        task, run = tasks.find(chosen.task), chosen.run
        table = frames.metric_table(run, only=tables.table_metrics(task))
        counts = frames.flips(run)
        names = list(counts["box"])
        filled = [row.box for row in counts.itertuples(index=False) if row.count] or names
        box = box if box in names else next((name for name in ("fixed", "broken", *filled) if name in filled), None)
        choices = [(f"{words.count(row.count)}\n{row.title}", row.box) for row in counts.itertuples(index=False)]
        known = f"; choose a {'sentence' if task.labels else 'question'} to try it." if texts_of(run) else "."
        return {
            self.empty: "", self.train: gr.Button(visible=False), self.body: gr.Column(visible=True),
            self.table: tables.metric_table(table), self.caption: tables.caption(task, metrics),
            self.dumbbells: charts.before_after(frames.metric_table(run, only=drawn_metrics(task))),
            self.dumbbell_note: html.note(_dumbbell_note(metrics)),
            self.flip_head: html.title("Fixed and broken", FLIPS + known, section=True),
            self.flips: gr.Radio(choices=choices, value=box), self.items: item_html(run, task, box, search or ""),
            **self._evidence(task, run, metrics),
        }  # fmt: skip

    def _nothing(self, chosen: Choice) -> dict:
        if chosen.run is None:
            says = "No fine-tuned run for this task and model is finished. Start one in Train, or choose others above."
        else:
            says = "This run was stopped before it was measured. Resume it in Runs, or start another in Train."
        return {
            self.empty: html.empty("Nothing to compare yet", says),
            self.train: gr.Button(visible=True), self.body: gr.Column(visible=False),
        }  # fmt: skip

    def _evidence(self, task: Task, run: Run, metrics: dict) -> dict:
        from llmft_core import charts

        n = words.count(metrics.get("n"))
        if task.labels:
            return {
                self.trust: html.title("Can its probabilities be trusted?", _reliability_note(task, metrics))
                + html.key("zero", "tuned"),
                self.trust_chart: charts.reliability(frames.reliability(run)),
                self.second: html.title(
                    "Which label for which?",
                    f"Each row is the gold label, each column what was answered; shares are of the row. n = {n}.",
                ),
                self.second_chart: charts.confusion(frames.confusion(run)),
            }
        return {
            self.trust: html.title("Does it know when there is no answer?", _abstention_note(run, metrics)),
            self.trust_chart: charts.abstention(frames.abstention(run)),
            self.second: html.title(
                "With and without an answer",
                f"Questions that can be answered, and those that cannot. n = {n}, 95 % intervals.",
            )
            + html.key("zero", "tuned"),
            self.second_chart: charts.answer_quality(frames.answer_quality(run)),
        }

    def on_list(self, task, model, run, box, search) -> str:
        chosen = choice.settle(task, model, run)
        if not chosen.metrics:
            return ""
        return item_html(chosen.run, tasks.find(chosen.task), box, str(search or "")[:200])


def drawn_metrics(task: Task) -> tuple[str, ...]:
    """The rows of the dumbbell chart: those where up is better and a baseline says something."""
    return (
        ("accuracy", "f1", "f1_macro", "auroc")
        if task.labels
        else ("exact_match", "f1", "has_answer_f1", "no_answer_f1")
    )


def texts_of(run: Run) -> dict[str, Example]:
    """The test items' texts by id, if the data is on this machine."""
    settings, metrics = run.config, run.metrics() or {}
    return _texts(settings.task, settings.data_dir, settings.data_file, settings.split, metrics.get("source"))


@functools.lru_cache(maxsize=3)
def _texts(
    task: str, data_dir: str | None, data_file: str | None, split: str, source: str | None
) -> dict[str, Example]:
    """A dataset has the same ids wherever it comes from: a run on files is read with the Hub's rows, too."""
    for place in (source,) if source in ("samples", "data-file") else (source, "data-dir", "hub"):
        try:
            if found := rows.examples(tasks.find(task), data_dir, data_file, split, place):
                return found
        except (OSError, ValueError):
            data_dir = None  # a folder that was there when the run was made
    return {}


def item_html(run: Run, task: Task, box: str | None, search: str) -> str:
    known = texts_of(run)
    try:
        found = frames.item_table(run, known, box or "")
    except ValueError:
        return html.note("These predictions cannot be read.")
    has_texts = len(found) == 0 or bool(found["text"].astype(bool).any())
    return tables.item_list(tables.matching(found, search), task, has_texts)


def _try(places: tuple, item: str, task, model, run) -> Move:
    """An item of the list goes to Try."""
    chosen = choice.settle(task, model, run)
    example = texts_of(chosen.run).get(item) if chosen.run else None
    if example is None:
        return Move()
    sentence, paragraph, question = places
    filled = {paragraph: example.shared, question: example.question} if example.shared else {sentence: example.question}
    return Move(tab="try", more=filled)


def _plot(label: str, name: str) -> gr.Plot:
    return gr.Plot(show_label=False, container=False, label=label, elem_id=name)


def _dumbbell_note(metrics: dict) -> str:
    n = words.count(metrics.get("n"))
    return f"n = {n}; whiskers are 95 % intervals; the ceiling is what the gold answers themselves score."


def _reliability_note(task: Task, metrics: dict) -> str:
    label = task.labels[-1]
    before, after = (metrics.get(side, {}).get("ece") for side in ("zero_shot", "fine_tuned"))
    gap = (
        f" Calibration error {words.percent(before, unit=False)} → {words.percent(after)}."
        if not words.is_missing(after)
        else ""
    )
    return (
        f"A point on the dashed line means: of the sentences given 70 %, 70 % were {label}.{gap} "
        f"n = {words.count(metrics.get('n'))}, ten bins, 95 % intervals."
    )


def _abstention_note(run: Run, metrics: dict) -> str:
    before, after = (metrics.get(side, {}).get("abstention_rate") for side in ("zero_shot", "fine_tuned"))
    return (
        f"It kept silent on {words.percent(before, unit=False)} → {words.percent(after)} of the questions. "
        f"Shares are of the row. n = {words.count(metrics.get('n'))}.{_threshold_words(run)}"
    )


def _threshold_words(run: Run) -> str:
    """What a threshold on P(no answer) would change, measured where it was not fitted."""
    from llmft_core import metrics
    from llmft_core.frames import reading

    try:
        items = reading.sides(run)["fine_tuned"]
        found = metrics.threshold_report(items["f1"], items["has_answer"], items["p_no_answer"], items["group"])
    except (KeyError, ValueError):
        return ""
    written, held_out = words.percent(found["as_written"], unit=False), words.percent(found["held_out"])
    return (
        " Silent above a threshold of P(no answer), fitted on one half and tried on the other, "
        f"fine-tuned F1 goes {written} → {held_out}."
    )
