"""The app without a browser: what it loads, what its handlers answer, and that nothing of a model is read as HTML."""

import os
import subprocess
import sys
from pathlib import Path

import fakes
import gradio as gr
import pytest
from fake_speaker import FakeSpeaker

from llmft_core import config, runs, tasks, words
from llmft_core.ui import TABS, ask, build_app, choice, html, sides
from llmft_core.ui import page as page_module
from llmft_core.ui.choice import Choice
from llmft_core.ui.page import Page
from llmft_core.ui.try_tab import Try

HOUSE = Path(__file__).resolve().parent.parent
NEVER_LOADED = ("torch", "transformers", "peft", "datasets", "sklearn", "scipy", "nltk", "sacrebleu", "plotly")
NASTY = '<img src=x onerror="alert(1)">${alert(2)}{{value}}'


def test_building_the_app_loads_no_model_library():
    code = f"import sys, app; print([name for name in {NEVER_LOADED!r} if name in sys.modules], app.demo.title)"
    told = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("[] llmft"), told.stdout


def test_every_event_is_private_and_keeps_no_history():
    demo = build_app(FakeSpeaker())
    events = demo.config["dependencies"]
    assert len(events) > 20
    assert {event["api_visibility"] for event in events} == {"private"}


def test_every_tab_has_a_title_and_is_one_word():
    demo = build_app(FakeSpeaker())
    labels = [block["props"]["label"] for block in demo.config["components"] if block["type"] == "tabitem"]
    assert labels == [name.capitalize() for name in TABS]


# ---- choices --------------------


def test_unknown_choices_fall_back_to_what_exists(sst2):
    found = choice.settle("../../etc", ["mini"], "<b>", runs.all())
    assert (found.task, found.model, found.run) == ("sst2", "mini", sst2.run)


def test_a_run_in_the_query_brings_its_task_and_model(sst2, squad):
    assert choice.from_query({"run": "squad-one"}) == squad
    assert choice.from_query({"run": "squad-one", "task": "sst2"}).task == "sst2"
    assert choice.from_query({"run": "../squad-one"}).run is not None


def test_a_link_to_a_run_that_cannot_be_shown_says_so(runs_dir, sst2, squad):
    fakes.write_run(runs_dir / "broken", "sst2", state="failed")
    (runs_dir / "hurt").mkdir()
    (runs_dir / "hurt" / "config.json").write_text("{")
    query, every = {"task": "sst2", "model": "mini", "tab": "results"}, runs.all()
    says = {
        "deleted-run": "There is no run 'deleted-run' here; this is sst2-one.", "hurt": "is damaged",
        "broken": "has no result to show", "squad-one": "another task or model", "sst2-one": "", "": "",
    }  # fmt: skip
    for name, wanted in says.items():
        said = choice.missed(query | {"run": name}, choice.from_query(query | {"run": name}, every), every)
        assert wanted in said and bool(wanted) == bool(said)


def test_a_page_tells_of_a_missing_run_until_something_is_chosen(sst2):
    with gr.Blocks() as demo:
        page = Page(FakeSpeaker())
        page.top()
        with gr.Tabs() as page.tabs:
            page.tab_items["try"] = gr.Tab("Try", id="try")
        page.wire(demo)
    request = type("Request", (), {"query_params": {"task": "sst2", "run": NASTY}})
    said = page.arrive(request)[page.missed]
    assert "There is no run" in said and "&lt;img" in said and "<img" not in said
    assert page.choose("sst2", "mini", "sst2-one", "try")[page.missed] == ""


def test_a_failed_run_cannot_be_chosen_to_look_at(runs_dir, sst2):
    fakes.write_run(runs_dir / "sst2-broken", "sst2", state="failed")
    names = [name for _, name in choice.runs_offered(runs.all(), "sst2", "mini")]
    assert names[0] == "sst2-one" and "sst2-broken" not in names


def test_a_run_with_a_name_of_its_own_shows_it_first(runs_dir):
    made = [runs.create(config.make(task="sst2"), name) for name in (None, None, "my-idea")]
    for run in made:
        fakes.write_run(run.path, "sst2")
    offered = {name: label for label, name in choice.runs_offered(runs.all(), "sst2", "mini")}
    assert offered["my-idea"].startswith("my-idea: LoRA, our samples")
    assert all(offered[run.name].startswith("LoRA") for run in made[:2])


@pytest.mark.parametrize("is_alone", [True, False])
def test_the_first_page_shows_a_result_where_there_is_one(runs_dir, is_alone):
    if not is_alone:
        fakes.write_run(runs_dir / "sst2-done", "sst2")
    stopped = fakes.write_run(runs_dir / "sst2-stopped", "sst2", state="cancelled")
    (stopped / "adapter").mkdir()
    (stopped / "adapter" / "adapter_config.json").write_text("{}")
    every = sorted(runs.all(), key=lambda run: run.name != "sst2-stopped")
    assert choice.is_usable(every[0]) and every[0].name == "sst2-stopped"
    for found in (choice.from_query({}, every), choice.settle("sst2", "mini", None, every)):
        assert found.metrics and (found.run.shipped if is_alone else found.run.name == "sst2-done")
    assert choice.settle("sst2", "mini", "sst2-stopped", every).run_name == "sst2-stopped"


def test_without_a_run_the_choice_says_none_yet(runs_dir, monkeypatch):
    monkeypatch.setattr(runs, "SHIPPED", runs_dir / "nothing")
    found = choice.settle("sst2", "mini", None)
    assert found.run is None
    assert choice.runs_offered([], "sst2", "mini") == [("none yet", "")]
    assert "Start one in Train" in page_module.verdict_html(found)


# ---- what is shown is escaped --------------------


@pytest.mark.parametrize("drawn", [
    lambda: html.error(NASTY, NASTY),
    lambda: html.facts([(NASTY, NASTY)]),
    lambda: html.table((NASTY,), [(NASTY, NASTY)]),
    lambda: html.verdict(words.Verdict("none", (words.Piece(NASTY, "plain"),)), NASTY),
    lambda: html.log(NASTY),
    lambda: sides.answer("fine_tuned", {"answer": NASTY, "start": 2, "end": 9}, NASTY, None, NASTY + NASTY),
    lambda: sides.labels("zero_shot", {"probabilities": {NASTY: 1.0}, "wrote": NASTY}, "lora", None, [NASTY], False),
    lambda: sides.partial_text("zero_shot", "lora", NASTY, NASTY),
    lambda: sides.conversation("zero_shot", [{"role": "user", "content": NASTY}], "lora"),
    lambda: sides.word_strip([[NASTY, 1.0], ["b", -1.0]], ["no", NASTY]),
    lambda: sides.prompt({"text": NASTY, "tokens": [NASTY]}),
])  # fmt: skip
def test_no_text_becomes_html(drawn):
    assert "<img" not in drawn()
    assert "&lt;img" in drawn() or NASTY not in drawn()


def test_positions_that_do_not_fit_mark_nothing():
    assert sides.marked("a <b> c", 2, 5) == "a <mark>&lt;b&gt;</mark> c"
    for start, end in ((None, 3), (5, 2), (0, 99), (-3, 2), ("0", "1")):
        assert "<mark>" not in sides.marked("a <b> c", start, end)


# ---- Try --------------------


def test_a_side_that_wrote_nothing_is_not_said_to_have_found_no_answer():
    mute = sides.answer("zero_shot", {"answer": "", "wrote": "  ", "p_no_answer": 0.0}, "lora", None, "A fox ran.")
    assert "Wrote nothing" in mute and "No answer in the text" not in mute
    refusal = sides.answer("zero_shot", {"answer": "", "wrote": "unanswerable"}, "lora", None, "A fox ran.")
    assert "No answer in the text" in refusal and "Wrote “unanswerable”" in refusal


def test_both_sides_answer_and_say_that_they_were_checked(sst2):
    *_, last = ask.compare(FakeSpeaker(), sst2, {"sentence": "A slow start, but a quiet triumph."})
    assert "negative" in last.zero_shot and "93 %" in last.fine_tuned
    assert "equals a plain load" in last.zero_shot and "differs from the base" in last.fine_tuned
    assert "Which words moved it" in last.words and "The exact prompt" in last.prompt


def test_calibrated_shows_the_other_probabilities(sst2):
    *_, raw = ask.compare(FakeSpeaker(), sst2, {"sentence": "Fine."})
    again = ask.show(tasks.find("sst2"), sst2, raw.reply, calibrated=True)
    assert "38 %" in raw.zero_shot and "48 %" in again.zero_shot


def test_an_answer_streams_and_ends_marked_in_the_paragraph(squad):
    example = ask.three("squad_v2")[0]
    shown = list(ask.compare(FakeSpeaker(), squad, {"paragraph": example.shared, "question": example.question}))
    assert len(shown) >= 3
    assert "<mark>" in shown[-1].fine_tuned and "P(no answer)" in shown[-1].zero_shot
    assert "F1" in shown[-1].zero_shot, "the right answer of our own example is known"


def test_an_input_that_cannot_be_asked_leaves_no_answer_of_another(sst2):
    *_, last = ask.compare(FakeSpeaker(), sst2, {"sentence": " "})
    assert "take an example below" in last.error and last.reply == {}
    assert "appears here" in last.zero_shot and "appears here" in last.fine_tuned and last.words == ""


def test_a_new_conversation_takes_the_error_away(sst2, laid_out):
    tab = laid_out(Try(FakeSpeaker(), sst2))
    *_, said = tab.on_chat("sst2", "mini", "sst2-one", "", {})
    assert "The message is empty: write one." in said[tab.error]
    assert tab.on_fresh("sst2", "mini", "sst2-one")[tab.error] == ""


@pytest.mark.parametrize(("text", "says"), [("", "is empty"), ("x" * 2001, "2,001 characters and 2,000 is the most")])
def test_an_input_that_cannot_be_asked_is_refused_in_a_sentence(sst2, text, says):
    speaker = FakeSpeaker()
    (only,) = ask.compare(speaker, sst2, {"sentence": text})
    assert says in only.error and not speaker.asked


def test_what_the_speaker_cannot_do_is_said_in_place(sst2):
    *_, last = ask.compare(FakeSpeaker(fail="The run 'x' ships without its weights."), sst2, {"sentence": "Fine."})
    assert 'role="alert"' in last.error and "without its weights" in last.error


def test_without_a_run_only_the_zero_shot_side_answers():
    speaker = FakeSpeaker()
    *_, last = ask.compare(speaker, Choice("sst2", "mini", None), {"sentence": "Fine."})
    assert speaker.asked[0]["run"] == "" and speaker.asked[0]["model"] == "mini"
    assert "negative" in last.zero_shot and "Start one in Train" in last.fine_tuned


def test_a_conversation_is_kept_for_each_side_apart(sst2):
    speaker = FakeSpeaker()
    *_, (_, first, _) = ask.chat(speaker, sst2, {}, "Hello")
    *_, (_, second, note) = ask.chat(speaker, sst2, first, "And now?")
    assert [turn["role"] for turn in second["fine_tuned"]] == ["user", "assistant"] * 2
    assert (
        speaker.asked[1]["messages"]["zero_shot"][1]["content"]
        != speaker.asked[1]["messages"]["fine_tuned"][1]["content"]
    )
    assert "Greedy" in note


def test_there_are_three_examples_for_every_task():
    for name in tasks.names():
        examples = ask.three(name)
        assert len(examples) == 3 and len({one.answers for one in examples}) > 1


def test_answers_of_another_run_do_not_stay(sst2, squad, laid_out):
    tab = laid_out(Try(FakeSpeaker(), sst2))
    said = tab.draw(squad, "One input", "", "", "", "sst2|mini|sst2-one")
    assert "appears here" in said[tab.zero] and said[tab.answered] == "squad_v2|mini|squad-one"
    assert tab.zero not in tab.draw(squad, "One input", "", "p", "q", "squad_v2|mini|squad-one")


def test_the_app_listens_to_this_machine_only():
    assert "127.0.0.1" in (HOUSE / "llmft_core" / "ui" / "__init__.py").read_text()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
