"""An open page while a run is at work: it is drawn anew when something was said, and nothing is missed at the end."""

import itertools
import time
from types import SimpleNamespace

import fakes
import gradio as gr
import pytest
from fake_speaker import FakeSpeaker

from llmft_core import runs
from llmft_core.ui import page as page_module
from llmft_core.ui.page import Move, Page
from llmft_core.ui.told import FRESH, Board, Told

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
    page.board = Board(clock=map(float, itertools.count()).__next__)  # each time it is asked, a second has gone by
    return page


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(page):
    page.board = Board(clock := Clock())
    clock.now += 1
    return clock


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


def test_pages_that_look_at_the_same_are_told_what_was_drawn_once(page, clock, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        page, "_frame", lambda *_: drawn.append(1) or {page.seen: "sst2-one:finished:", page.timer: None}
    )
    first = page.pulse(LOOKER, 10.0, "", *SHOWN)
    clock.now += FRESH * 1.0
    assert page.pulse(LOOKER, 10.0, "", *SHOWN) is first and len(drawn) == 1
    assert list(page.pulse(LOOKER, 10.0, "sst2-one:finished:", *SHOWN)) == [page.timer], "seen already"
    assert page.pulse(LOOKER, 10.0, "", "sst2", "mini", "sst2-two", "train") is not first
    clock.now += 0.01
    assert page.pulse(LOOKER, 1.0, "", *SHOWN) is not first and len(drawn) >= 3, "too old for who looks every second"


def test_whoever_did_something_is_not_told_what_was_before(page, clock):
    before = page.pulse(LOOKER, 1.0, "", *SHOWN)
    assert page.pulse(LOOKER, 1.0, "", *SHOWN) is before
    page._go(Move(), *SHOWN)
    after = page.pulse(LOOKER, 1.0, "", *SHOWN)
    assert after is not before
    assert page.pulse(LOOKER, 1.0, "", *SHOWN) is not after, "begun in the same moment, it may be from before"
    clock.now += 0.01
    assert page.pulse(LOOKER, 1.0, "", *SHOWN) is page.pulse(LOOKER, 1.0, "", *SHOWN)


def test_what_nobody_is_told_any_more_is_forgotten(page, clock):
    page.pulse(LOOKER, 1.0, "", *SHOWN)
    clock.now += 3600
    page.board.keep("other", clock.now, Told())
    assert list(page.board.kept) == ["other"]


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
