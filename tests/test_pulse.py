"""An open page while a run is at work: it is drawn anew when something was said, and nothing is missed at the end."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import fakes
import gradio as gr
import pytest
from fake_speaker import FakeSpeaker

from llmft_core import runs
from llmft_core.ui import page as page_module
from llmft_core.ui.page import Move, Page, View
from llmft_core.ui.runs_tab import Runs
from llmft_core.ui.told import FRESH, OLD, Board, Told

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


def test_pages_that_look_at_the_same_are_told_what_was_drawn_once(page, clock):
    first = page.pulse(LOOKER, 10.0, "", *SHOWN)
    clock.now += FRESH * 1.0
    assert page.pulse(LOOKER, 10.0, "", *SHOWN) is first
    clock.now += 0.01
    assert page.pulse(LOOKER, 1.0, "", *SHOWN) is not first, "too old for who looks every second"


def test_what_a_page_has_seen_it_is_not_told_again(page, clock, monkeypatch):
    now = "sst2-one:running:7"
    monkeypatch.setattr(page_module, "signature", lambda every: now)
    told = page.pulse(LOOKER, 1.0, "sst2-one:running:5", *SHOWN)
    assert told[page.seen] == now and page.pulse(LOOKER, 1.0, "sst2-one:running:6", *SHOWN) is told
    assert page.pulse(LOOKER, 1.0, now, *SHOWN) == {page.seen: gr.skip()}


def test_who_looks_at_something_else_is_told_something_else(page, clock):
    picked, typed = gr.Textbox(render=False), gr.Textbox(render=False)
    page.extra = [picked, typed]
    page.views["train"] = View(None, [], [picked, typed], lambda chosen, run: {picked: run}, [picked])
    told = {}
    for run in ("a", "b"):
        for words in ("", "3e-4"):
            told[run, words] = page.pulse(LOOKER, 1.0, "", *SHOWN, run, words)
    assert {key: said[picked] for key, said in told.items()} == {key: key[0] for key in told}
    assert told["a", ""] is told["a", "3e-4"], "what is typed into the form moves nothing"
    assert page.verdict in page.pulse(LOOKER, 1.0, "", "sst2", "mini", "sst2-two", "train", "a", "")


def test_whoever_did_something_is_not_told_what_was_before(page, clock):
    for deed in (lambda: page._go(Move(), *SHOWN), lambda: page.choose(*SHOWN)):
        before = page.pulse(LOOKER, 1.0, "", *SHOWN)
        assert page.pulse(LOOKER, 1.0, "", *SHOWN) is before
        deed()
        assert page.pulse(LOOKER, 1.0, "", *SHOWN) is not before


def test_a_row_that_is_drawn_as_it_is_now_wipes_what_pages_are_told(sst2, laid_out):
    wiped = []
    tab = laid_out(Runs(lambda: wiped.append(1)))
    tab.on_search("", "sst2")
    assert tab.on_pick(SimpleNamespace(value="sst2-one"), "")[tab.picked] == "sst2-one" and len(wiped) == 2


def test_who_comes_while_it_is_drawn_waits_for_it(clock):
    board, drawn = Board(clock), []

    def draw():
        drawn.append(time.sleep(0.1))
        return Told()

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: board.tell("same", 1.0, draw), range(4)))
    assert len(drawn) == 1 and all(one is told[0] for one in told)


def test_what_nobody_is_told_any_more_is_forgotten_and_nothing_is_not_kept():
    board = Board(clock := Clock())
    board.tell("old", 20.0, Told)
    clock.now += OLD + 0.01
    assert board.tell("nothing", 1.0, lambda: None) is None
    assert board.kept == {}


def test_a_run_that_ends_while_the_page_is_drawn_is_shown_at_the_next_beat(page, monkeypatch, runs_dir):
    run = runs.Run(fakes.write_run(runs_dir / "at-work", "sst2", state="running"))
    states = {"at-work": "running"}
    state = runs.Run.state
    monkeypatch.setattr(runs.Run, "state", lambda one: state(one)._replace(kind=states.get(one.name, "finished")))

    def drawn(chosen):
        states[run.name] = "finished"
        return {}

    page.views["train"] = View(None, [], pulse=drawn)
    said = page.pulse(LOOKER, 1.0, "at-work:running:0", *SHOWN)
    assert said[page.timer].active is True, "what was drawn is a run at work"
    said = page.pulse(LOOKER, 1.0, said[page.seen], *SHOWN)
    assert said[page.timer].active is False and page.verdict in said
