"""A damaged run: one sentence says what is damaged, and every other run is listed, shown and left as it was."""

import json
import os

import fakes
import pandas as pd
import pytest

from llmft_core import events, frames, runs
from llmft_core.cli import main
from llmft_core.ui import choice, tables

SAID = (
    '{"kind": "started", "pid": "x", "at": "noon"}\n{"kind": "started", "pid": 1, "at": 1e400}\n'
    '{"kind": "step", "step": "a", "steps": [], "loss": "c", "learning_rate": null, "at": 5}\n'
    '{"kind": "evaluated", "side": 3, "step": 0, "n": "many", "metrics": 7, "at": 5}\n'
    '{"kind": "finished", "seconds": "long", "at": -5}\n'
)
TYPES = '{"task": "sst2", "n": "x", "zero_shot": 5, "fine_tuned": {"accuracy": "high"}, "delta": 7, "flips": []}'
DAMAGES = {
    "config.json": [os.urandom(99), b'{"task": 7, "model": []}', b'{"task": "gone"}', None],
    "events.jsonl": [os.urandom(999), SAID.encode(), None],
    "metrics.json": [os.urandom(99), b"[]", b"7", TYPES.encode(), b'{"task": "sst2", "n": 60, "zero_shot": {}}', None],
    "predictions.parquet": [os.urandom(99), "columns", None],
    "weights.parquet": [os.urandom(99), "columns", None],
}


@pytest.fixture(params=[(file, kind) for file in DAMAGES for kind in range(len(DAMAGES[file]))], ids=str)
def hurt(request, runs_dir):
    """(name of the damaged file, the run), beside a run that is whole."""
    file, kind = request.param
    fakes.write_run(runs_dir / "whole")
    path, content = fakes.write_run(runs_dir / "hurt") / file, DAMAGES[file][kind]
    path.unlink()
    if content is None:
        path.mkdir()
    elif content == "columns":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        path.write_bytes(content)
    return file, runs.find("hurt")


def test_the_list_and_the_other_runs_do_not_suffer(hurt, runs_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in runs_dir.rglob("*")}
    assert main(["runs", "--json"]) == 0
    found = {run["name"]: run for run in json.loads(capsys.readouterr().out)}
    assert found["whole"]["state"] == "finished" and "hurt" in found
    assert main(["runs"]) == main(["runs", "show", "hurt"]) == main(["compare", "whole"]) == 0
    page = tables.run_list(frames.runs_table(runs.all()), "hurt", {}, {})
    assert "hurt" in page and "whole" in page
    assert choice.settle("sst2", "mini", "whole").run.name == "whole"
    assert {path: path.stat().st_mtime_ns for path in runs_dir.rglob("*")} == before


def test_what_is_damaged_is_one_sentence_and_exit_2(hurt, capsys):
    file, _ = hurt
    for command in ("compare", "weights"):
        assert main([command, "hurt"]) in (0, 2)
        said = capsys.readouterr().err.strip()
        assert not said or (len(said.splitlines()) == 1 and "Error" not in said), said
    if file in ("metrics.json", "weights.parquet"):
        assert main(["compare" if file == "metrics.json" else "weights", "hurt"]) == 2
        assert f"hurt: {file} is damaged (" in capsys.readouterr().err


def test_no_frame_of_the_page_breaks(hurt):
    _, run = hurt
    for frame in (frames.metric_table, frames.flips, frames.item_table, frames.learning_curve, frames.parameter_table):
        frame(run)
    assert isinstance(run.seconds(), float) and run.title()


def test_an_event_with_a_wrong_type_costs_only_itself(tmp_path):
    path = tmp_path / "events.jsonl"
    good = events.Step(5, 40, 0.5, 1e-3, at=7.0)
    path.write_text(SAID)
    events.append(path, good)
    assert events.read(path) == [good] and events.first(path) is None


def test_a_damaged_run_cannot_be_resumed_and_says_why(runs_dir, capsys):
    fakes.write_run(runs_dir / "hurt")
    (runs_dir / "hurt" / "config.json").write_text("{")
    assert main(["runs", "resume", "hurt"]) == 2
    said = capsys.readouterr().err
    assert said == "hurt is damaged (config.json: not JSON) and cannot be started: delete it and make it again.\n"


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_settings_of_an_adapter_that_are_damaged_are_named(tmp_path, capsys, content):
    (tmp_path / "adapter_config.json").write_text(content)
    assert main(["evaluate", "--model-path", str(tmp_path), "--task", "sst2"]) == 2
    said = capsys.readouterr().err
    assert "adapter_config.json is damaged (not a JSON object); copy" in said and len(said.splitlines()) == 1
