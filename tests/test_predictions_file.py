"""Anybody's predictions are scored as ours are, with an interval for every figure."""

import json
from dataclasses import replace

import pytest

from llmft_core import predictions_file, statistics, tasks
from llmft_core.cli import main


def test_labels_may_be_names_or_numbers_and_others_are_invalid(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("idx,sentence,label\n1,fine,1\n2,cold,0\n3,nice,1\n4,grim,0\n")
    (tmp_path / "p.json").write_text('{"1": "Positive", "2": 0, "3": "0", "4": "maybe"}')
    arguments = [
        "score",
        "--task",
        "sst2",
        "--predictions",
        tmp_path / "p.json",
        "--data-file",
        tmp_path / "a.csv",
        "--json",
    ]
    assert main([str(argument) for argument in arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 4 and found["metrics"]["accuracy"] == 0.5 and found["metrics"]["invalid_rate"] == 0.25
    assert {"task", "model", "split", "n", "metrics", "seconds", "examples_per_second"} <= set(found)
    assert found["intervals"]["accuracy"] == pytest.approx(statistics.wilson(2, 4))


def test_a_task_of_free_text_is_scored_without_an_exact_match():
    task = replace(tasks.find("squad_v2"), score=lambda answer, example: {"f1": float(answer in example.answers)})
    gold = {key: tasks.Example(key, "", "A heron.", "What?", ("heron",)) for key in ("a", "b")}
    rows = predictions_file.table("p.json", task, {"a": "heron", "b": "otter"}, gold)
    assert statistics.right(rows).tolist() == [True, False]


def test_the_official_format_is_scored_like_the_official_script(data_dir, capsys):
    gold, given = (
        data_dir / "squad_v2" / "validation.parquet",
        data_dir / "oracle" / "squad_v2_dev_nlnet_predictions.json",
    )
    assert main(["score", "--task", "squad2", "--predictions", str(given), "--data-file", str(gold), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    low, high = found["intervals"]["f1"]
    found = found["metrics"]
    assert 0.005 < found["f1"] - low < 0.015 and 0.005 < high - found["f1"] < 0.015
    totals = json.loads((data_dir / "oracle" / "squad_v2_dev_totals.json").read_text())["nlnet"]
    for ours, theirs in (
        ("exact_match", "exact"),
        ("f1", "f1"),
        ("has_answer_f1", "HasAns_f1"),
        ("no_answer_f1", "NoAns_f1"),
    ):
        assert found[ours] == pytest.approx(totals[theirs] / 100, abs=1e-12)
