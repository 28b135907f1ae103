"""Try: both sides answer the same input, one at a time or in a conversation."""

import threading
from collections.abc import Iterator

import gradio as gr

from llmft_core import tasks
from llmft_core.ui import ask, choice, html, sides
from llmft_core.ui.choice import Choice
from llmft_core.ui.page import Page, View

TITLE = "Try"
ONE, CHAT = "One input", "Chat"
RAW, CALIBRATED = "Raw", "Calibrated"
FOLLOW = """watch('value', () => {
  const talk = element.querySelector('.talk');
  if (talk) talk.scrollTop = talk.scrollHeight;
});"""


def build(page: Page) -> View:
    tab = Try(page.speaker, page.first)
    tab.layout()
    tab.connect(page)
    inputs = [tab.mode, tab.sentence, tab.paragraph, tab.question, tab.answered]
    return View(tab.draw, tab.outputs, inputs, places=(tab.sentence, tab.paragraph, tab.question))


class Try:
    """The tab's components and what they do."""

    def __init__(self, speaker, first: Choice):
        self.speaker, self.first = speaker, first
        self.warmed = ""

    def layout(self) -> None:
        with gr.Row(elem_classes="between"):
            with gr.Column(scale=0, min_width=10):
                self.mode = _segments([ONE, CHAT], "What to try", "try-mode")
            with gr.Column(scale=0, min_width=10):
                self.scale = _segments([RAW, CALIBRATED], "Probabilities", "try-scale")
        self.error = gr.HTML("", apply_default_css=False, elem_id="try-error")
        rest = ask.resting(self.first)
        with gr.Column(elem_classes="gap") as self.one:
            self._inputs()
            with gr.Column(visible=False) as self.coming:
                self.download = gr.HTML("", apply_default_css=False, elem_id="download")
                with gr.Row(elem_classes="buttons"):
                    self.cancel = gr.Button(
                        "Cancel", variant="stop", size="md", scale=0, min_width=110, elem_id="download-cancel"
                    )
            with gr.Row():
                with gr.Column(min_width=300):
                    self.zero = gr.HTML(rest.zero_shot, apply_default_css=False, elem_id="side-zero")
                with gr.Column(min_width=300):
                    self.tuned = gr.HTML(rest.fine_tuned, apply_default_css=False, elem_id="side-tuned")
            self.words = gr.HTML("", apply_default_css=False, elem_id="words")
            self.prompt = gr.HTML("", apply_default_css=False, elem_id="prompt")
        with gr.Column(visible=False, elem_classes="gap") as self.talk:
            self._conversation()
        self.reply = gr.State({})
        self.answered = gr.Textbox("", visible="hidden", label="answered", interactive=True)
        self.outputs = [
            self.scale, self.error, self.labels_form, self.text_form, self.sentence,
            self.paragraph, self.question, self.zero, self.tuned, self.words, self.prompt, self.reply, self.answered,
            self.download, self.coming, self.zero_chat, self.tuned_chat, self.chat_note, self.talks, *self.chips,
        ]  # fmt: skip

    def _inputs(self) -> None:
        with gr.Row(elem_classes="ask") as self.labels_form:
            self.sentence = gr.Textbox(
                label="Sentence", scale=1, min_width=260, lines=1, max_lines=6, interactive=True, elem_id="sentence"
            )
            self.compare = gr.Button("Compare", variant="primary", scale=0, min_width=120, elem_id="compare")
        with gr.Row(visible=False) as self.text_form:
            with gr.Column(scale=3, min_width=300):
                self.paragraph = gr.Textbox(
                    label="Paragraph", lines=5, max_lines=14, interactive=True, elem_id="paragraph"
                )
            with gr.Column(scale=2, min_width=300):
                self.question = gr.Textbox(label="Question", lines=1, max_lines=4, interactive=True, elem_id="question")
                self.answer = gr.Button("Compare", variant="primary", elem_id="compare-text")
        with gr.Column(elem_classes="tight"):
            gr.HTML(html.note("Or one of these"), apply_default_css=False)
            with gr.Row(elem_classes="chips"):
                self.chips = [
                    gr.Button("", size="sm", scale=0, min_width=40, elem_id=f"chip-{n}", visible=False)
                    for n in range(3)
                ]

    def _conversation(self) -> None:
        with gr.Row():
            with gr.Column(min_width=300):
                self.zero_chat = gr.HTML("", apply_default_css=False, js_on_load=FOLLOW, elem_id="chat-zero")
            with gr.Column(min_width=300):
                self.tuned_chat = gr.HTML("", apply_default_css=False, js_on_load=FOLLOW, elem_id="chat-tuned")
        with gr.Row(elem_classes="ask"):
            self.message = gr.Textbox(
                label="Message to both models", placeholder="Ask both", scale=1, min_width=260, lines=1, max_lines=6,
                interactive=True, elem_id="message",
            )  # fmt: skip
            self.send = gr.Button("Send", variant="primary", scale=0, min_width=120, elem_id="send")
        with gr.Row(elem_classes="buttons"):
            self.stop = gr.Button("Stop", size="md", scale=0, min_width=110, elem_id="chat-stop")
            self.fresh = gr.Button("New conversation", size="md", scale=0, min_width=170, elem_id="chat-new")
        self.chat_note = gr.HTML("", apply_default_css=False)
        self.talks = gr.State({})

    # ---- events --------------------

    def connect(self, page: Page) -> None:
        who = [page.task, page.model, page.run]
        asked = [*who, self.sentence, self.paragraph, self.question, self.scale]
        shown = [*self._places(), self.coming, self.answered]
        answers = [
            page.on(event, self.on_compare, asked, shown, trigger_mode="once", concurrency_limit=8)
            for event in (self.compare.click, self.sentence.submit, self.answer.click, self.question.submit)
        ]
        for number, chip in enumerate(self.chips):
            filled = page.on(chip.click, _picker(number), [page.task], [self.sentence, self.paragraph, self.question])
            answers.append(page.on(filled.then, self.on_compare, asked, shown, concurrency_limit=8))
        for calls_off in (self.cancel.click, *(box.input for box in who)):  # or the page is about to show another pair
            calls_off(None, None, None, cancels=answers, api_visibility="private")
        for answer in answers:
            page.on(answer.then, self.on_over, [*who, self.reply], shown)
        for box in (self.sentence, self.paragraph, self.question, self.message):
            page.on(box.focus, self.on_focus, who, [])
        page.on(self.scale.input, self.on_scale, [*who, self.reply, self.scale], [self.zero, self.tuned])
        page.on(self.mode.input, _switch, [self.mode, page.task], [self.one, self.talk, self.scale])
        talk = [self.error, self.zero_chat, self.tuned_chat, self.message, self.chat_note, self.talks]
        said = [*who, self.message, self.talks]
        turns = [
            page.on(event, self.on_chat, said, talk, trigger_mode="once", concurrency_limit=8)
            for event in (self.send.click, self.message.submit)
        ]
        self.stop.click(None, None, None, cancels=turns, api_visibility="private")
        for turn in turns:
            page.on(turn.then, _settled, [self.chat_note], [self.chat_note])
        page.on(self.fresh.click, self.on_fresh, who, talk)

    def draw(self, chosen: Choice, mode, sentence, paragraph, question, answered) -> dict:
        """The form of the task; answers of another run do not stay."""
        task = tasks.find(chosen.task)
        examples = ask.three(chosen.task)
        is_one = mode != CHAT
        said = {
            self.labels_form: gr.Row(visible=bool(task.labels)), self.text_form: gr.Row(visible=not task.labels),
            self.scale: gr.Radio(visible=bool(task.labels) and is_one),
        }  # fmt: skip
        for chip, example in zip(self.chips, examples + [None] * 3, strict=False):
            said[chip] = gr.Button(example.question if example else "", visible=example is not None)
        if examples and task.labels and not sentence:
            said[self.sentence] = examples[0].question
        if examples and not task.labels and not (paragraph or question):
            said |= {self.paragraph: examples[0].shared, self.question: examples[0].question}
        if answered != _key(chosen):
            said |= self._said(chosen, ask.resting(chosen)) | self._talked(chosen, {}, "")
        return said

    def _places(self) -> tuple:
        """Components in the order of `ask.Shown`."""
        return self.error, self.zero, self.tuned, self.words, self.prompt, self.reply, self.download

    def _said(self, chosen: Choice, shown: ask.Shown) -> dict:
        """What changes on the page; the bar and its button are there while a model is on its way."""
        fresh = zip(self._places(), shown, strict=True)
        said = {place: value for place, value in fresh if value is not None} | {self.answered: _key(chosen)}
        return said if shown.download is None else said | {self.coming: gr.Column(visible=bool(shown.download))}

    def on_compare(self, task, model, run, sentence, paragraph, question, scale) -> Iterator[dict]:
        chosen = choice.settle(task, model, run)
        given = {"sentence": sentence, "paragraph": paragraph, "question": question}
        for shown in ask.compare(self.speaker, chosen, given, scale == CALIBRATED):
            yield self._said(chosen, shown)

    def on_over(self, task, model, run, reply) -> dict:
        """An answer came, failed or was called off (Gradio says so when that is done): nothing waits any more."""
        if reply:
            return {self.coming: gr.skip()}
        chosen = choice.settle(task, model, run)
        return self._said(chosen, ask.resting(chosen)._replace(error=None))

    def on_focus(self, task, model, run) -> None:
        """Somebody is about to ask: load the model while they type."""
        chosen = choice.settle(task, model, run)
        if self.warmed != _key(chosen):
            self.warmed = _key(chosen)
            threading.Thread(target=ask.warm, args=(self.speaker, chosen), daemon=True).start()

    def on_scale(self, task, model, run, reply, scale) -> dict:
        """Raw or calibrated: the same answer on the other scale, without asking again."""
        chosen = choice.settle(task, model, run)
        if not reply:
            return {self.zero: gr.skip()}
        shown = ask.show(tasks.find(chosen.task), chosen, reply, scale == CALIBRATED)
        return {self.zero: shown.zero_shot, self.tuned: shown.fine_tuned}

    def on_chat(self, task, model, run, message, talks) -> Iterator[dict]:
        chosen = choice.settle(task, model, run)
        for error, now, note in ask.chat(self.speaker, chosen, talks or {}, str(message or "")):
            said = {self.error: error, **self._talked(chosen, now, note)}
            yield said if error else said | {self.message: ""}

    def on_fresh(self, task, model, run) -> dict:
        return self._talked(choice.settle(task, model, run), {}, "") | {self.error: ""}

    def _talked(self, chosen: Choice, talks: dict[str, list[dict]], note: str) -> dict:
        how = ask.method(chosen)
        tuned = sides.conversation("fine_tuned", talks.get("fine_tuned", []), how)
        return {
            self.talks: talks, self.chat_note: html.note(note),
            self.zero_chat: sides.conversation("zero_shot", talks.get("zero_shot", []), how),
            self.tuned_chat: tuned if chosen.run else sides.resting("fine_tuned", how, ask.NO_SIDE),
        }  # fmt: skip


def _segments(names: list[str], label: str, name: str) -> gr.Radio:
    return gr.Radio(
        names, value=names[0], label=label, show_label=False, container=False, interactive=True,
        elem_classes="seg", elem_id=name, min_width=10,
    )  # fmt: skip


def _picker(number: int):
    def pick(task) -> tuple:
        examples = ask.three(choice.settle(task, None, None).task)
        if number >= len(examples):
            return gr.skip(), gr.skip(), gr.skip()
        one = examples[number]
        return (gr.skip(), one.shared, one.question) if one.shared else (one.question, gr.skip(), gr.skip())

    return pick


def _settled(note):
    """A turn is over, perhaps because it was stopped: nothing is being downloaded for it."""
    return "" if ask.DOWNLOADING in str(note) else gr.skip()


def _switch(mode, task) -> tuple:
    has_scale = bool(tasks.find(choice.settle(task, None, None).task).labels) and mode != CHAT
    return gr.Column(visible=mode != CHAT), gr.Column(visible=mode == CHAT), gr.Radio(visible=has_scale)


def _key(chosen: Choice) -> str:
    return "|".join((chosen.task, chosen.model, chosen.run_name))
