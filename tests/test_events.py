"""Events: what is appended is read back, half lines wait, unknown and damaged ones are passed over."""

import pytest

from llmft_core import events
from llmft_core.events import Cancelled, Evaluated, Failed, Finished, Note, Stage, Started, Step

SAID = [
    Started(4242, "cpu"),
    Stage("zero-shot", 3, 10),
    Note("Each prompt has a row of its own."),
    Step(5, 120, 0.61, 1e-3, 160, 50.2),
    Evaluated("zero_shot", 0, 872, {"accuracy": 0.509}, final=True),
    Failed("gated", "Größe: “accept” the licence."),
    Cancelled(7),
    Finished(12.5),
]


@pytest.fixture
def log(tmp_path):
    for event in SAID:
        events.append(tmp_path / "events.jsonl", event)
    return tmp_path / "events.jsonl"


def test_every_kind_of_event_comes_back_as_it_was_said(log):
    assert {type(event) for event in SAID} == set(events.KINDS.values())
    assert events.read(log) == SAID


def test_an_absent_file_has_no_events(tmp_path):
    assert events.read(tmp_path / "events.jsonl") == []
    assert not (tmp_path / "events.jsonl").exists()


def test_a_line_that_is_being_written_is_read_next_time(log):
    whole = log.read_bytes()
    for cut in (1, 10, 25):
        log.write_bytes(whole[:-cut])
        assert events.read(log) == SAID[:-1]


def test_unknown_kinds_and_fields_are_passed_over(log):
    with log.open("a") as file:
        file.write('{"kind": "from_the_future", "at": 1.0}\n')
        file.write('{"kind": "finished", "at": 2.0, "seconds": 3.0, "mood": "good"}\n')
    assert events.read(log) == [*SAID, Finished(3.0, at=2.0)]


@pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"[]", b"null", b"{}", b'{"kind": "step"}', b"{not json"])
def test_a_damaged_line_costs_only_itself(log, line):
    log.write_bytes(line + b"\n" + log.read_bytes())
    assert events.read(log) == SAID


@pytest.mark.parametrize("strange", ["\u2028", "\x85", "\x0c", "\r", "\n"])
def test_a_line_break_inside_a_message_does_not_end_the_line(tmp_path, strange):
    said = Failed("other", f"before{strange}after")
    events.append(tmp_path / "events.jsonl", said)
    assert events.read(tmp_path / "events.jsonl") == [said]
