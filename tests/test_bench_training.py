"""Fine-tuning against public trainers: the same ids, the same first loss, each side's adapter fit to be measured."""

import importlib.util
import json
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny

from llmft_core import files, jobs
from llmft_core.bench import duel, side, training, training_quality
from llmft_core.cli import main

HERE = training.HERE
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl: requirements-bench.txt")
WAYS = [("plain", way) for way in training.WAYS["plain"]]
WAYS += [pytest.param("trl", way, marks=needs_trl) for way in training.WAYS["trl"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.llama(tmp_path_factory.mktemp("llama") / "model"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Forty questions on eight paragraphs of ours, and forty sentences: to learn from and to test on."""
    folder = tmp_path_factory.mktemp("data")
    questions = [
        {
            "id": f"q{i}",
            "title": "",
            "context": f"The heron number {i // 5} waited at the mill for {i // 5 + 2} days.",
            "question": f"Who {'really ' * (i % 5)}waited?",
            "answers": {"text": [] if i % 3 == 0 else ["The heron"], "answer_start": [] if i % 3 == 0 else [0]},
        }
        for i in range(40)
    ]
    sentences = [
        {"idx": i, "sentence": f"a {'good' if i % 2 else 'bad'} film{' indeed' * (i % 4)} {i}", "label": i % 2}
        for i in range(40)
    ]
    for task, rows in (("squad_v2", questions), ("sst2", sentences)):
        (folder / task).mkdir()
        for part in ("train", "validation"):
            pd.DataFrame(rows).to_parquet(folder / task / f"{part}.parquet")
    return str(folder)


def request(model, data_dir, **changes):
    values = dict(task="squad_v2", part="test", model=model, examples=40, data_dir=data_dir, seed=1)
    return values | changes


@pytest.mark.parametrize(("tool", "way"), WAYS)
def test_every_side_begins_with_the_same_loss(model, data_dir, tool, way):
    asked = request(model, data_dir, way=training.WAYS[tool][way])
    ours, theirs = (side.take(f"{HERE}:{name}", asked) for name in ("ours", tool))
    assert ours["n"] == theirs["n"] == 40 and ours["about"]["steps"] == theirs["about"]["steps"] == 2
    assert training.closeness(ours["results"], theirs["results"]) > 1 - 1e-3
    assert theirs["about"]["last_loss"] != theirs["about"]["first_loss"], "it learnt"


def test_closeness_tells_another_loss_apart():
    assert training.closeness({"first_loss": 2.0}, {"first_loss": 2.0}) == 1
    assert training.closeness({"first_loss": 2.1}, {"first_loss": 2.0}) == pytest.approx(0.95)
    assert training.closeness({"first_loss": 9.0}, {"first_loss": 2.0}) == 0


@pytest.fixture
def in_turn(monkeypatch):
    """Turns taken by nobody: what each would take, and TRL's padding-free breaks."""
    rates = {"ours": 40.0, "plain": 10.0, "trl": 8.0}
    asked = []

    def take_turn(where, request, is_ours=True):
        name = where.split(":")[1]
        asked.append((name, request))
        if "padding_free" in str(request.get("way")) and name == "trl":
            raise jobs.CallFailed("No kernel for it.")
        passes = (request.get("way") or {}).get("passes", 1)
        seconds = request["examples"] / (rates[name] + (name != "ours") * passes / 10)
        about = {"first_loss": 1.0}
        return duel.Turn(seconds, request["examples"], {"first_loss": 1.0}, about, seconds + 1, 100 * 2**20)

    monkeypatch.setattr(duel, "take_turn", take_turn)
    monkeypatch.setattr(duel.metadata, "version", lambda name: "1.0")
    return asked


def test_a_public_tool_runs_in_the_environment_in_which_people_use_it(monkeypatch):
    asked = []

    def timed(what, request, is_quick):
        asked.append((request["where"], is_quick))
        return {"seconds": 1.0, "n": 1, "results": 1, "about": {}}, 1.0, 1

    monkeypatch.setattr(jobs, "timed", timed)
    duel.fight("a bench", duel.Duel("us:work", "them:work", "them", lambda a, b: 1.0), {}, 1)
    assert asked == [("us:work", True), ("them:work", False)]
    asked.clear()
    training.trial("plain", {"examples": 8}, lambda line: None)
    assert {is_quick for _, is_quick in asked} == {False}


def test_report_is_against_the_faster_tool_and_the_fastest_of_its_ways(in_turn, model, capfd):
    assert main(["bench", "train-squad_v2", "--model", model, "--examples", "40", "--rounds", "2", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["against"] == "transformers Trainer (padding, 4 passes)"
    assert found["ratio"] == pytest.approx(40 / 10.4, abs=0.01) and found["agreement"] == 1
    assert [other["against"] for other in found["others"]] == ["TRL SFTTrainer (padding, 4 passes)"]
    assert found["trials"]["trl"]["padding-free"] == {"failed": "No kernel for it."}
    assert found["trials"]["plain"]["padding"]["per_second"] == pytest.approx(10.1)
    assert "quality" not in found


def test_table_names_both_tools(in_turn, model, capfd):
    assert main(["bench", "train-sst2", "--model", model, "--examples", "40", "--rounds", "1"]) == 0
    out = capfd.readouterr().out
    assert "TRL SFTTrainer" in out and "transformers Trainer" in out and "times as fast" in out


def test_tool_that_runs_in_no_way_is_told():
    with pytest.raises(ValueError, match="TRL does not run here: No kernel"):
        training.fastest("TRL", {"padding": {"failed": "No kernel."}})


def test_quality_has_a_score_for_each_seed_and_side(in_turn, model, monkeypatch):
    scores = iter([0.80, 0.79, 0.70, 0.69])
    monkeypatch.setattr(jobs, "call", lambda what, request: {"metrics": {"accuracy": next(scores)}})
    ways = {"plain": training.WAYS["plain"]["padding"]}
    asked = {"task": "sst2", "model": model, "examples": 40, "data_dir": None, "part": "test"}
    found = training_quality.measure(asked, ways, 2, lambda line: None)
    assert found["scores"] == {"ours": [80.0, 70.0], "plain": [79.0, 69.0]}
    assert found["against"]["plain"]["difference"] == 1 and not found["against"]["plain"]["within_noise"]
    assert {learnt["part"] for _, learnt in in_turn} == {"train"}
    assert {learnt["seed"] for _, learnt in in_turn} == {1, 2}


def test_noise_is_that_of_the_paired_differences():
    found = training_quality.difference([1.0, 2.0, 3.0], [0.0, 2.0, 4.0])
    assert found == {"difference": 0.0, "noise": pytest.approx(2.48, abs=0.01), "within_noise": True}


def test_adapter_that_is_kept_is_one_that_evaluate_reads(model, data_dir, tmp_path, monkeypatch):
    from llmft_core.worker import calls

    def here(where, request, is_ours=True):
        answer = side.take(where, json.loads(files.to_json(request)))
        return SimpleNamespace(**answer)

    monkeypatch.setattr(duel, "take_turn", here)
    monkeypatch.setattr(jobs, "call", lambda what, request: calls.CALLS[what](request))
    way = training.WAYS["plain"]["padding"]
    for name in ("ours", "plain"):
        found = training_quality.score(name, way, request(model, data_dir, task="sst2", seed=2))
        assert 0 <= found["accuracy"] <= 1
