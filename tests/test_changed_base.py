"""A base model that was replaced: nothing that was learnt from the earlier weights is put onto the later ones."""

import pytest
import tiny
import torch

from llmft_core import api, checks, config, files, jobs, precomputed, runs
from llmft_core.engine import load
from llmft_core.worker import __main__ as envelope
from llmft_core.worker import calls, speaker

SMALL = dict(task="sst2", train_examples=16, eval_examples=6, epochs=1, batch_size=8, probe_examples=0)
CHANGED = "was fine-tuned from other weights than"


class Never:
    """Nobody asks to stop."""

    def __call__(self):
        return False

    def is_over(self):
        pass


def replace(model):
    """The same architecture and names with other weights in the same folder."""
    lm = load.load(str(model))
    with torch.no_grad():
        next(lm.model.parameters()).add_(0.1)
    lm.model.save_pretrained(model)


@pytest.fixture(params=["lora", "full"])
def run(request, tmp_path):
    """A finished run of a tiny model that lies in `model`."""
    model = tiny.llama(tmp_path / "model")
    made = runs.create(config.make(model=str(model), method=request.param, **SMALL), "r")
    envelope.work(made, Never())
    assert made.state().kind == "finished", made.state()
    return made


def classify():
    heard = []
    request = {"id": 1, "do": "classify", "task": "sst2", "run": "r", "text": "A good film"}
    speaker.answer_one(speaker.Speaker(), request, heard.append, lambda: False)
    return heard[-1]


def test_pair_opens_on_the_base_that_it_was_made_of_and_on_no_other(run):
    assert classify()["event"] == "done"
    replace(run.config.model)
    assert classify()["event"] == "error" and CHANGED in classify()["message"]


def test_run_that_did_not_note_its_base_still_opens(run):
    about = files.read_json(run.path / "environment.json")
    assert about.pop("base") == checks.base_digest(run.config.model)
    files.write_json(run.path / "environment.json", about)
    replace(run.config.model)
    assert classify()["event"] == "done"


@pytest.mark.parametrize("run", ["lora"], indirect=True)
def test_evaluate_and_resume_refuse_the_run(run, monkeypatch, sentences):
    monkeypatch.setattr(jobs, "call", calls.answer)
    assert api.evaluate("r", "sst2", data_dir=str(sentences), examples=6)["result"]["n"] == 6
    replace(run.config.model)
    answer = api.evaluate("r", "sst2", data_dir=str(sentences), examples=6)
    assert answer["reason"] == "bad-config" and CHANGED in answer["message"]
    monkeypatch.setenv("LLMFT_RESUME", "1")
    envelope.work(run, Never())
    assert run.state().reason == "bad-config" and CHANGED in run.state().detail


@pytest.mark.parametrize("run", ["full"], indirect=True)
def test_model_that_was_tuned_in_full_is_tested_without_its_base(run, monkeypatch, sentences):
    replace(run.config.model)
    monkeypatch.setattr(jobs, "call", calls.answer)
    assert api.evaluate("r", "sst2", data_dir=str(sentences), examples=6)["result"]["n"] == 6


def test_draft_is_made_again_when_its_base_has_changed(tmp_path):
    model = tiny.llama(tmp_path / "model")
    settings = config.make(model=str(model), **SMALL)
    made, is_new = precomputed.draft("x", settings)
    files.write_json(made.path / "environment.json", {"base": checks.base_digest(str(model))})
    (made.path / "lock").touch()  # its worker ended
    assert is_new and not precomputed.draft("x", settings)[1]
    replace(model)
    again, is_new = precomputed.draft("x", settings)
    assert is_new and not (again.path / "environment.json").exists()


def test_digest_is_of_the_weights_that_are_loaded(tmp_path):
    model = tiny.llama(tmp_path / "model")
    before = checks.base_digest(str(model))
    (model / "training.safetensors").write_bytes(b"something else")
    (model / "config.json").touch()
    assert len(before) == 16 and checks.base_digest(str(model)) == before
    assert len(checks.base_digest("mini")) == 16 and checks.base_digest("owner/nobody") == ""
