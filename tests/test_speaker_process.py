"""Calls and the speaker: one answer from a child, however the child behaves."""

import sys
import threading
from pathlib import Path

import pytest
from patience import PATIENCE, until

from llmft_core import jobs


def test_a_call_that_fails_is_one_sentence_and_no_traceback_for_bad_input(monkeypatch):
    from llmft_core.worker import calls

    def refuse(request):
        raise jobs.runs.check_name(request["name"])

    monkeypatch.setitem(calls.CALLS, "refuse", refuse)
    monkeypatch.setitem(calls.CALLS, "count", lambda request: {"n": request["n"] + 1})
    assert calls.answer("count", {"n": 1}) == {"result": {"n": 2}}
    said = calls.answer("refuse", {"name": "../x"})
    assert said["reason"] == "bad-config" and said["message"].startswith("'../x' cannot name a run")


def test_a_call_that_is_nobody_s_fault_says_what_happened(capfd, monkeypatch):
    with pytest.raises(jobs.CallFailed, match="KeyError: 'no such job'"):
        jobs.call("no such job", {})
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("LLMFT_DEBUG", "1")
    with pytest.raises(jobs.CallFailed):
        jobs.call("no such job", {})
    assert "Traceback" in capfd.readouterr().err


SPEAKER = """
import json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    say = lambda **event: print(json.dumps({"id": request["id"], **event}), flush=True)
    if request["do"] == "die":
        os._exit(9)
    elif request["do"] == "sleep":
        time.sleep(30)
    elif request["do"] == "cancel":
        continue
    else:
        print("a library says hello", flush=True)
        for word in request.get("words", []):
            say(event="partial", text=word)
            time.sleep(0.05)
        say(event="done", text=" ".join(request.get("words", [])), pid=os.getpid())
"""


@pytest.fixture
def speaker(tmp_path):
    (tmp_path / "fake_speaker.py").write_text(SPEAKER)
    made = jobs.Speaker(silence=PATIENCE, idle=600, command=(sys.executable, str(tmp_path / "fake_speaker.py")))
    yield made
    made.close()


def test_the_speaker_is_started_once_and_answers_in_pieces(speaker):
    said = list(speaker.ask({"do": "chat", "words": ["one", "two"]}))
    assert [event["event"] for event in said] == ["partial", "partial", "done"] and said[-1]["text"] == "one two"
    again = list(speaker.ask({"do": "chat"}))
    assert again[-1]["pid"] == said[-1]["pid"]


def test_an_answer_that_nobody_reads_to_the_end_does_not_leak_into_the_next(speaker):
    asked = speaker.ask({"do": "chat", "words": list("abcdefgh")})
    assert next(asked)["text"] == "a"
    asked.close()
    assert [event.get("text") for event in speaker.ask({"do": "chat", "words": ["x"]})] == ["x", "x"]


def test_a_speaker_that_dies_says_so_and_comes_back(speaker):
    (error,) = speaker.ask({"do": "die"})
    assert error["event"] == "error" and "ask again" in error["message"]
    assert list(speaker.ask({"do": "chat"}))[-1]["event"] == "done"


def test_a_speaker_that_falls_silent_is_given_up(speaker):
    speaker.silence = 0.5
    (error,) = speaker.ask({"do": "sleep"})
    assert "said nothing" in error["message"]
    speaker.silence = PATIENCE
    assert list(speaker.ask({"do": "chat"}))[-1]["event"] == "done"


def test_two_who_ask_at_once_are_answered_in_turn(speaker):
    heard: dict[str, list] = {}

    def ask(word):
        heard[word] = [event["text"] for event in speaker.ask({"do": "chat", "words": [word] * 3})]

    threads = [threading.Thread(target=ask, args=(word,)) for word in "ab"]
    [thread.start() for thread in threads]
    [thread.join(PATIENCE) for thread in threads]
    assert heard == {word: [word] * 3 + [" ".join([word] * 3)] for word in "ab"}


def test_a_speaker_without_questions_ends(speaker):
    speaker.idle = 0.2
    gone = list(speaker.ask({"do": "chat"}))[-1]["pid"]
    until(lambda: not Path(f"/proc/{gone}").exists(), "the idle speaker ends")
    assert list(speaker.ask({"do": "chat"}))[-1]["pid"] != gone
