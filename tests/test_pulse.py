"""An open page while a run is at work: it is drawn anew when something was said, and nothing is missed at the end."""

import time
from types import SimpleNamespace

import fakes
import gradio as gr
import pytest
from fake_speaker import FakeSpeaker

from llmft_core import runs
from llmft_core.ui import page as page_module
from llmft_core.ui.page import Page

LOOKER = SimpleNamespace(session_hash="abc")
SHOWN = ("sst2", "mini", "sst2-one", "train")


@pytest.fixture
def page(sst2):
    with gr.Blocks() as demo:
        page = Page(FakeSpeaker())
        page.top()
        with gr.Tabs() as page.tabs:
            pass
        page.wire(demo)
    return page


def test_the_pulse_sends_nothing_while_nothing_is_said(page):
    now = page_module.signature(runs.all())
    assert page.pulse(LOOKER, 1.0, now, *SHOWN) == {page.seen: gr.skip()}
    assert page.verdict in page.pulse(LOOKER, 1.0, "", *SHOWN)


def test_the_pulse_slows_down_when_many_look(page):
    now = page_module.signature(runs.all())
    for n in range(19):
        page.pulse(SimpleNamespace(session_hash=f"other {n}"), 1.0, now, *SHOWN)
    said = page.pulse(LOOKER, 1.0, now, *SHOWN)
    assert list(said) == [page.timer] and said[page.timer].value == 10.0
    assert page.pulse(LOOKER, 10.0, now, *SHOWN) == {page.seen: gr.skip()}
    assert page.pulse(LOOKER, 1.0, "", *SHOWN)[page.timer].value == 10.0


def test_whoever_chooses_or_starts_something_sees_it_soon(page):
    assert page.choose(*SHOWN)[page.timer].value == 1.0


def test_a_beat_that_nobody_was_told_is_not_believed(page):
    now = page_module.signature(runs.all())
    page.pulse(LOOKER, 1e12, now, *SHOWN)
    assert max(page.pace.until.values()) < time.monotonic() + 60


def test_a_run_that_ends_while_the_page_is_drawn_is_shown_at_the_next_beat(page, monkeypatch, runs_dir):
    run = runs.Run(fakes.write_run(runs_dir / "at-work", "sst2", state="running"))
    states = {"at-work": "running"}
    state = runs.Run.state
    monkeypatch.setattr(runs.Run, "state", lambda one: state(one)._replace(kind=states.get(one.name, "finished")))

    def drawn(*_, **__):
        states[run.name] = "finished"
        return {}

    monkeypatch.setattr(page, "_drawn", drawn)
    said = page.pulse(LOOKER, 1.0, "at-work:running:0", *SHOWN)
    assert said[page.timer].active is True, "what was drawn is a run at work"
    said = page.pulse(LOOKER, 1.0, said[page.seen], *SHOWN)
    assert said[page.timer].active is False and page.verdict in said
