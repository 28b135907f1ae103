"""The playground's process answers with both sides, token by token, and survives whatever it is asked."""

import io
import json
import sys

import pytest
import tiny

from llmft_core import config, files, runs
from llmft_core.engine import chat, load
from llmft_core.worker import speaker


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with runs of a tiny Llama: one with an adapter, one that was tuned in full, one without weights."""
    folder = tmp_path_factory.mktemp("speaker")
    model = tiny.llama(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMFT_RUNS_DIR", str(folder / "runs"))
        for name in ("lora", "full", "bare"):
            made = runs.create(
                config.make(model=str(model), task="sst2", method="full" if name == "full" else "lora"), name
            )
            files.write_json(made.path / "kept.json", {})
        tiny.adapter(model, folder / "runs" / "lora" / "adapter")
        tuned = tiny.llama(folder / "runs" / "full" / "model", rms_norm_eps=0.1)
        assert tuned.exists()
    return folder


@pytest.fixture
def ask(home, monkeypatch):
    monkeypatch.setenv("LLMFT_RUNS_DIR", str(home / "runs"))
    voice = speaker.Speaker()

    def ask(should_stop=lambda: False, **request):
        heard = []
        speaker.answer_one(voice, {"id": 7} | request, heard.append, should_stop)
        assert all(reply["id"] == 7 for reply in heard)
        return heard

    return ask


@pytest.mark.parametrize("run", ["lora", "full"])
def test_classify_gives_both_sides_and_the_words(ask, run):
    (reply,) = ask(do="classify", task="sst2", run=run, text="A good film, never bad.")
    assert reply["event"] == "done", reply
    for side in ("zero_shot", "fine_tuned"):
        assert sum(reply[side]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert reply[side]["label"] == max(reply[side]["probabilities"], key=reply[side]["probabilities"].get)
    assert reply["zero_shot"]["probabilities"] != reply["fine_tuned"]["probabilities"]
    assert [word for word, _ in reply["words"]] == ["A", "good", "film,", "never", "bad."]
    assert reply["prompt"]["text"].endswith("A good film, never bad.\nSentiment:")
    lora = {"base_equal": True} if run == "lora" else {}
    assert reply["proof"] == {"tuned_differs": True} | lora, "a base that is loaded alone is compared with nothing"


def test_answers_stream_and_end_with_both_sides(ask):
    *partials, done = ask(do="answer", task="squad_v2", run="lora", context="The fox ran.", question="Who ran?")
    assert {reply["side"] for reply in partials} == {"zero_shot", "fine_tuned"}
    assert done["event"] == "done"
    for side in ("zero_shot", "fine_tuned"):
        assert 0 <= done[side]["p_no_answer"] <= 1
        last = [reply["text"] for reply in partials if reply["side"] == side][-1]
        assert done[side]["wrote"] == last


def test_streamed_answer_equals_the_one_that_is_scored(ask, home):
    from llmft_core import tasks
    from llmft_core.engine import evaluate, load, score
    from llmft_core.engine.prompts import Prompter
    from llmft_core.tasks.base import Example

    done = ask(do="answer", task="squad_v2", run="lora", context="The fox ran.", question="Who ran?")[-1]
    task, lm = tasks.find("squad_v2"), load.load(str(home / "model"), adapter=home / "runs" / "lora" / "adapter")
    prompter = Prompter(lm.tokenizer)
    prompts = evaluate.encode(task, prompter, [Example("x", "x", "The fox ran.", "Who ran?", ())], lm.context)
    (written,) = score.write(lm, prompter, prompts, task.max_new_tokens, task.abstention)
    assert done["fine_tuned"]["wrote"].split("\n")[0] == written.text
    assert done["fine_tuned"]["p_no_answer"] == pytest.approx(written.p_no_answer, rel=1e-3)


def test_each_side_can_have_its_own_conversation(ask):
    turn = [{"role": "user", "content": "Who ran?"}]
    *partials, done = ask(do="chat", run="lora", messages={"zero_shot": turn, "fine_tuned": turn * 2}, max_new_tokens=5)
    assert done["event"] == "done" and set(done) >= {"zero_shot", "fine_tuned", "prompt"}
    assert len([reply for reply in partials if reply["side"] == "zero_shot"]) <= 5


def test_base_model_alone_has_one_side(ask, home):
    (reply,) = ask(do="classify", task="sst2", run="", model=str(home / "model"), text="A good film")
    assert "fine_tuned" not in reply and reply["zero_shot"]["label"] in ("negative", "positive")
    assert reply["proof"] == {}


def test_adapter_that_does_not_come_off_the_base_is_refused(home, monkeypatch):
    """What `base_equal` says: with the adapter off the model must be the base, bit for bit."""
    from contextlib import nullcontext

    monkeypatch.setattr(load.LanguageModel, "zero_shot", lambda lm: nullcontext(lm))  # leaves the adapter on
    with pytest.raises(ValueError, match="zero-shot side differs"):
        chat.open_pair(str(home / "model"), adapter=home / "runs" / "lora" / "adapter")


def test_full_fine_tune_that_equals_its_base_is_refused(home):
    with pytest.raises(ValueError, match="exactly like the base"):
        chat.open_pair(str(home / "model"), tuned=home / "model")


def test_cancel_ends_an_answer_between_tokens(ask):
    heard = ask(
        should_stop=lambda: True,
        do="chat",
        run="lora",
        messages=[{"role": "user", "content": "Run"}],
        max_new_tokens=50,
    )
    assert heard[-1]["event"] == "done" and heard[-1]["stopped"]
    assert len(heard) <= 3


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (dict(do="classify", task="sst2", run="nowhere", text="x"), "nowhere"),
        (dict(do="classify", task="sst3", run="lora", text="x"), "Unknown task"),
        (dict(do="classify", task="sst2", run="bare", text="x"), "without its weights"),
        (dict(do="classify", task="sst2", run="lora", text="long " * 3000), "shorten"),
        (dict(do="sing", run="lora"), "sing"),
    ],
)
def test_errors_are_one_sentence_and_the_next_request_is_answered(ask, request_, words):
    (reply,) = ask(**request_)
    assert reply["event"] == "error" and words in reply["message"] and "\n" not in reply["message"]
    assert ask(do="classify", task="sst2", run="lora", text="A good film")[-1]["event"] == "done"


def test_protocol_is_one_json_object_a_line(home, monkeypatch):
    monkeypatch.setenv("LLMFT_RUNS_DIR", str(home / "runs"))
    requests = [
        "not json",
        json.dumps({"id": 1, "do": "classify", "task": "sst2", "run": "lora", "text": "A good film"}),
        json.dumps({"do": "quit"}),
    ]
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(requests) + "\n"))
    monkeypatch.setattr(sys, "stdout", out)
    speaker.main()
    (reply,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert reply["id"] == 1 and reply["event"] == "done"
