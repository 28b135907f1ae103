"""Evaluate a run: on the rows that it kept for testing, unless others are given by hand."""

import json

import fakes
import pytest
import tiny

from llmft_core import api, config, files, jobs, runs, tasks
from llmft_core.cli import main
from llmft_core.engine import data

SST2 = tasks.find("sst2")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("sentence,label\n" + "".join(f"tea number {n} is {'fine' * (n % 7)},{n % 2}\n" for n in range(40)))
    return path


@pytest.fixture
def asked(monkeypatch, runs_dir, file):
    """What the child is asked for by `evaluate` of a run on one file, split 80-20 with seed 3: asked(**by_hand)."""
    run = runs.Run(fakes.write_run(runs_dir / "own"))
    settings = config.make(task="sst2", split="80-20", seed=3, data_file=str(file))
    files.write_json(run.path / "config.json", settings.model_dump())
    monkeypatch.setattr(jobs, "call", lambda what, request: request)
    keys = ("split", "data_dir", "data_file", "seed")
    return lambda task="sst2", **by_hand: {key: api.evaluate("own", task, **by_hand)[key] for key in keys}


def test_a_run_on_a_file_is_tested_on_that_file_and_its_split(asked, file, sentences, monkeypatch):
    own = {"split": "80-20", "data_dir": None, "data_file": str(file), "seed": 3}
    assert asked() == own
    monkeypatch.setenv("LLMFT_DATA_DIR", str(sentences))
    assert asked() == own, "a folder that lies around is not the run's"


def test_what_is_given_by_hand_goes_first(asked, file, tmp_path, sentences):
    other = tmp_path / "other.csv"
    other.write_text(file.read_text())
    assert asked(data_file=str(other)) == {"split": "official", "data_dir": None, "data_file": str(other), "seed": 3}
    assert asked(data_file=str(other), split="grouped")["split"] == "grouped"
    assert asked(data_dir=str(sentences)) == {
        "split": "80-20",
        "data_dir": str(sentences),
        "data_file": None,
        "seed": 3,
    }
    assert asked(data_file=str(other), split="grouped", seed=5)["seed"] == 5
    assert asked(split="80-20", seed=3)["data_file"] == str(file), "what the run says itself"


@pytest.mark.parametrize(
    "by_hand",
    [{"seed": 5}, {"split": "grouped"}, {"split": "80-20", "seed": 5}, {"data_file": True, "split": "grouped"}],
)
def test_rows_that_the_run_learnt_from_are_not_tested_on(asked, file, by_hand):
    given = by_hand | ({"data_file": str(file)} if "data_file" in by_hand else {})
    with pytest.raises(ValueError, match="rows that it learnt from .* 80-20 and 3.: leave both out"):
        asked(**given)


@pytest.mark.parametrize("split", ["official", "80-20"])
def test_seed_of_a_run_on_the_official_parts_only_picks_among_those_it_did_not_see(
    runs_dir, sentences, monkeypatch, split
):
    run = runs.Run(fakes.write_run(runs_dir / "own"))
    files.write_json(run.path / "config.json", config.make(task="sst2", data_dir=str(sentences)).model_dump())
    monkeypatch.setattr(jobs, "call", lambda what, request: request)
    if split == "official":
        assert api.evaluate("own", "sst2", split=split, seed=5)["seed"] == 5
    else:
        with pytest.raises(ValueError, match="rows that it learnt from"):
            api.evaluate("own", "sst2", split=split)


def test_another_task_has_no_use_for_the_file(asked):
    assert asked("squad_v2")["data_file"] is None


def test_all_rows_of_its_file_are_not_taken_for_a_test_part(asked, capsys):
    assert main(["evaluate", "--model-path", "own", "--task", "sst2", "--split", "official"]) == 2
    said = capsys.readouterr().err
    assert "own.csv is one file, without a test part: leave --split out" in said and len(said.splitlines()) == 1


def test_a_file_that_is_gone_is_named(asked, file, capsys):
    file.unlink()
    assert main(["evaluate", "--model-path", "own", "--task", "sst2"]) == 2
    assert f"{file}: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["80-20", "grouped"])
def test_the_fifth_of_a_file_is_the_one_that_was_kept(file, split):
    run, alone = (load(SST2, split, data_file=file, seed=3) for load in (data.load, data.load_test))
    assert alone.fingerprint["test"] == run.fingerprint["test"] and (alone.split, alone.source) == (split, "data-file")
    assert not {e.id for e in alone.test} & {e.id for e in run.train} and len(alone.test) == 8
    assert len(data.load_test(SST2, data_file=file).test) == 40


def test_the_terminal_tests_a_run_on_its_own_fifth(file, llama, runs_dir, capfd):
    run = runs.create(config.make(model=str(llama), task="sst2", split="80-20", data_file=str(file)), "own")
    tiny.adapter(llama, run.adapter)
    (run.path / "events.jsonl").touch()
    assert main(["evaluate", "--model-path", "own", "--task", "sst2", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["n"], found["split"], found["source"]) == (8, "80-20", "data-file")


def test_scores_say_which_rows_they_come_from(monkeypatch, capsys):
    found = {"task": "sst2", "model": "mini", "split": "official", "n": 9, "metrics": {"accuracy": 0.5}, "seconds": 1}
    found["intervals"] = {"accuracy": [0.18, 0.82]}
    monkeypatch.setattr(jobs, "call", lambda *_: found | {"source": "samples"})
    assert main(["evaluate", "--model-path", "mini", "--task", "sst2"]) == 0
    said = capsys.readouterr().out
    assert "n = 9, rows from our samples" in said and "50.0  [18.0, 82.0]" in said, "nine rows say little"
