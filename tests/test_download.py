"""A model that is not on this machine: said at once if it cannot be had, downloaded in sight, called off cleanly."""

import json
import sys
import threading
import time
from types import SimpleNamespace

import fake_hub
import pytest
import tiny

from llmft_core import checks, config, jobs, models, runs
from llmft_core.cli import main
from llmft_core.jobs import playground
from llmft_core.jobs.playground import Silence
from llmft_core.worker import download

NAME = "owner/tiny"
ASK = {"do": "classify", "task": "sst2", "run": "", "model": NAME, "text": "A good film"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model in several pieces, as large ones lie on the Hub, with things beside it that nobody needs."""
    from transformers import AutoModelForCausalLM

    made = tiny.llama(tmp_path_factory.mktemp("hub") / "tiny")
    AutoModelForCausalLM.from_pretrained(made).save_pretrained(made, max_shard_size="20KB")
    (made / "model.safetensors").unlink()
    (made / "original").mkdir()
    (made / "original" / "consolidated.safetensors").write_bytes(b"x" * 9_999)
    (made / "README.md").write_text("a card")
    return made


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """The Hub of this test, for us and for the children that we start."""
    from huggingface_hub import constants

    with fake_hub.serving(NAME, folder) as made:
        for name, value in {"HF_ENDPOINT": made.address, "HF_HOME": str(tmp_path / "hf")}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, made.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", made.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        yield made


@pytest.fixture
def speaker():
    made = jobs.Speaker(silence=240.0)  # a busy machine takes long to load torch
    yield made
    made.close()


@pytest.fixture
def scripted(tmp_path):
    """A speaker whose child says these downloads, 0.2 seconds apart, whatever it is asked; then it is done."""
    made = []

    def make(silence: float, downloads: list[int]):
        script = tmp_path / "child.py"
        script.write_text(SCRIPT.replace("DOWNLOADS", repr(downloads)))
        made.append(jobs.Speaker(silence, command=(sys.executable, str(script))))
        return made[-1]

    yield make
    for each in made:
        each.close()


SCRIPT = """
import json, sys, time
for line in sys.stdin:
    number = json.loads(line)["id"]
    for done in DOWNLOADS:
        print(json.dumps({"id": number, "event": "download", "model": "a/b", "done": done, "total": 9}), flush=True)
        time.sleep(0.2)
    print(json.dumps({"id": number, "event": "done"}), flush=True)
"""


def half_written(tmp_path):
    return [path.name for path in (tmp_path / "hf").rglob("*.incomplete")]


# ---- it comes, in sight --------------------


def test_a_model_is_downloaded_in_sight_and_then_answers(hub, speaker, tmp_path):
    hub.trickle.set()
    said = []
    for event in speaker.ask(ASK):
        said.append(event)
        if len({one.get("done") for one in said}) > 2:
            hub.open.set()
    *coming, last = said
    assert {event["event"] for event in coming} == {"download"} and last["event"] == "done", last
    assert coming[0]["model"] == NAME and coming[0]["done"] < coming[-1]["done"] == coming[-1]["total"]
    assert checks.is_here(models.find(NAME)) and not half_written(tmp_path)
    fetched = [path.name for path in (tmp_path / "hf" / "hub").rglob("snapshots/*/**/*")]
    assert "config.json" in fetched and not {"README.md", "original", "consolidated.safetensors"} & set(fetched)
    assert [event["event"] for event in speaker.ask(ASK)] == ["done"], "the second time it is here"


def test_a_download_that_grows_is_never_too_long(scripted, monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(playground, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for event in scripted(100.0, list(range(1, 6))).ask({"do": "chat"}):
        said.append(event["event"])
        now[0] += 60
    assert said == ["download"] * 5 + ["done"], "300 seconds by that clock, and 100 of silence allowed"


def test_a_download_that_stands_still_is_given_up_in_words(scripted):
    *_, last = scripted(2.0, [4] * 50).ask({"do": "chat"})
    assert last["event"] == "error"
    assert last["message"].startswith("The download of a/b has stood still for 2 seconds: check the connection")


def test_silence_is_broken_by_words_and_by_growth_only():
    silence = Silence(100.0)
    for event, left in (
        ({"event": "download", "done": 1}, 100),
        ({"event": "download", "done": 1}, 40),
        ({"event": "download", "done": 2}, 100),
        ({"event": "partial"}, 100),
    ):
        silence.since -= 60
        silence.hear(event)
        assert silence.left == pytest.approx(left, abs=10), event


def test_those_who_wait_for_their_turn_see_it_too(scripted):
    speaker = scripted(60.0, list(range(40)))
    first = speaker.ask({"do": "chat"})
    next(first)
    second = speaker.ask({"do": "chat"})
    threading.Thread(target=lambda: list(first), daemon=True).start()
    assert next(second)["event"] == "download"
    second.close()


# ---- it is called off --------------------


def test_nobody_waits_any_more_and_the_download_ends_with_nothing_half_written(hub, speaker, tmp_path):
    events = speaker.ask(ASK)
    while not half_written(tmp_path):
        assert next(events)["event"] == "download"
    child = speaker._child
    events.close()
    child.wait(20)  # only the end of its process ends a download
    assert not half_written(tmp_path) and not checks.is_here(models.find(NAME))
    hub.open.set()
    assert list(speaker.ask(ASK))[-1]["event"] == "done", "and it can be asked again"


def test_whoever_stops_it_in_the_worker_is_told_that_it_stopped(hub, tmp_path):
    coming = download.fetch(NAME, lambda: bool(half_written(tmp_path)))
    with pytest.raises(download.Stopped):
        list(coming)
    assert not half_written(tmp_path)


# ---- it cannot be had --------------------


def test_what_cannot_be_had_is_said_without_starting_a_process(hub, speaker, monkeypatch):
    hub.gated = True
    (gated,) = speaker.ask(ASK)
    assert "owner/tiny is gated: accept its licence at" in gated["message"]
    (missing,) = speaker.ask(ASK | {"model": "owner/nobody"})
    assert "The Hub has no model 'owner/nobody'" in missing["message"]
    monkeypatch.setattr(checks, "hub_answers", lambda: False)
    (alone,) = speaker.ask(ASK)
    assert "owner/tiny is not on this machine and there is no network to the Hub" in alone["message"]
    assert speaker._child is None


def test_a_run_is_looked_at_through_its_base_model(hub, speaker, capsys, monkeypatch):
    hub.gated = True
    runs.create(config.make(model=NAME, task="sst2"), "r")
    (error,) = speaker.ask({"do": "classify", "task": "sst2", "run": "r", "text": "x"})
    assert error["event"] == "error" and "gated" in error["message"]
    assert main(["chat", "r"]) == 2
    assert "owner/tiny is gated" in capsys.readouterr().err


def test_a_hub_that_breaks_off_is_a_sentence(hub, monkeypatch):
    import httpx2
    import huggingface_hub

    def fail(*_, **__):
        raise httpx2.ConnectError("name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    with pytest.raises(ValueError, match="owner/tiny is not on this machine and there is no network"):
        checks.model(NAME)


@pytest.mark.parametrize("missing", ["", "config.json", "model-2.safetensors"])
def test_a_download_that_broke_off_does_not_count_as_here(tmp_path, monkeypatch, missing):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    for name in ("config.json", "model-1.safetensors", "model-2.safetensors"):
        (snapshot / name).touch()
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / missing).unlink() if missing else None
    assert checks.is_here(models.find(NAME)) is (missing == "")
    (snapshot / "model.safetensors.index.json").write_text("{")
    assert not checks.is_here(models.find(NAME))


def test_a_file_that_was_about_to_be_opened_is_taken_back(tmp_path, monkeypatch):
    held = threading.Event()

    def slow(source, name):
        time.sleep(0.3)
        with (tmp_path / "a.incomplete").open("wb"):
            held.wait(5)

    file = SimpleNamespace(will_download=True, file_size=1, filename="a")
    monkeypatch.setattr(download, "snapshot_download", lambda *_, **__: [file])
    monkeypatch.setattr(download, "hf_hub_download", slow)
    with pytest.raises(download.Stopped):
        list(download.fetch("a/b", lambda: True))
    assert not list(tmp_path.glob("*.incomplete"))
    held.set()
