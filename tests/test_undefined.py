"""A number that is none (AUROC of one class, the loss of a training gone astray): null in JSON, empty on screen."""

import json
import math
import re
from pathlib import Path

import fakes
import pandas as pd
import pytest

from llmft_core import charts, events, files, frames, metrics, runs, tasks
from llmft_core.cli import follow, main
from llmft_core.ui import tables
from llmft_core.worker import speaker

PACKAGE = Path(files.__file__).parent
NAN = float("nan")


def strict(text: str):
    """JSON as the standard has it: NaN and Infinity are errors."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def hollow(runs_dir):
    """A finished run whose headline and AUROC are undefined, as a task of one's own may have it."""
    folder = fakes.write_run(runs_dir / "hollow")
    found = json.loads((folder / "metrics.json").read_text())
    for name in ("accuracy", "auroc"):
        found["delta"][name] = dict.fromkeys(("value", "low", "high", "p"), NAN)
        for side in ("zero_shot", "fine_tuned"):
            found[side][name] = NAN
            found["intervals"][side][name] = [NAN, NAN]
    files.write_json(folder / "metrics.json", found)
    return runs.find("hollow")


def test_one_class_has_no_auroc_and_its_scores_are_json():
    found = metrics.classification([1, 1], [1, 0], [0.9, 0.2])
    assert "auroc" not in found
    strict(files.to_json(found))


def test_no_file_of_ours_writes_json_but_through_the_one_door_that_knows_no_nan():
    doors = [path.name for path in PACKAGE.rglob("*.py") if re.search(r"json\.dumps?\(", path.read_text())]
    assert doors == ["files.py"]
    assert "allow_nan=False" in (PACKAGE / "files.py").read_text()


def test_what_a_run_says_is_json_and_comes_back_as_it_was(tmp_path):
    path = tmp_path / "events.jsonl"
    events.append(path, events.Step(5, 40, NAN, 1e-3, 160, math.inf))
    events.append(path, events.Evaluated("fine_tuned", 5, 8, {"accuracy": 0.5, "auroc": NAN}))
    said = [strict(line) for line in path.read_text().splitlines()]
    assert said[0]["loss"] is None and said[1]["metrics"] == {"accuracy": 0.5, "auroc": None}
    step, probe = events.read(path)
    assert math.isnan(step.loss) and step.learning_rate == 1e-3 and probe.metrics["accuracy"] == 0.5


def test_what_the_playground_says_is_json(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", iter(['{"id": 1, "do": "chat"}\n']))
    monkeypatch.setattr(speaker.Speaker, "chat", lambda *_: iter([{"event": "partial", "p": NAN}]))
    speaker.main()
    assert strict(capsys.readouterr().out) == {"id": 1, "event": "partial", "p": None}


@pytest.mark.parametrize("command", ["compare hollow", "runs", "runs show hollow"])
def test_every_command_says_null_in_json_and_nothing_in_a_table(hollow, capsys, command):
    assert main([*command.split(), "--json"]) == 0
    strict(capsys.readouterr().out)
    assert main(command.split()) == 0
    assert not re.search(r"\b(nan|None)\b", capsys.readouterr().out)


def test_the_page_shows_empty_cells(hollow):
    frame = frames.metric_table(hollow)
    row = frame.set_index("metric").loc["auroc"]
    assert row[["zero_shot", "fine_tuned", "delta", "delta_low", "zero_high"]].isna().all() and row["better"] is None
    shown = tables.metric_table(frame) + tables.caption(tasks.find("sst2"), hollow.metrics())
    assert not re.search(r"nan|None", shown) and '<span class="v"></span>' in shown
    assert not re.search(r"\b(nan|None)\b", tables.run_list(frames.runs_table([hollow]), "", {}, {}))


def test_charts_draw_what_is_defined(hollow):
    curve = frames.learning_curve(Astray("x", hollow.config))
    assert curve["loss"].isna().all()
    drawn = charts.before_after(frames.metric_table(hollow)), charts.loss_curve(curve), charts.probe_curve(curve)
    assert not re.search(r"\bnan\b", "".join(figure.to_json() for figure in drawn))


class Astray(fakes.Run):
    """A training whose loss is no number any more."""

    def history(self):
        return [events.Step(5, 40, NAN, 1e-3), events.Evaluated("fine_tuned", 5, 8, {"accuracy": NAN})]


def test_a_loss_that_is_no_number_is_said_in_words(capsys):
    lines = follow.Lines()
    lines.show(events.Step(40, 40, NAN, 1e-3))
    lines.show(events.Evaluated("zero_shot", 0, 9, {"accuracy": None}, final=True))
    said = capsys.readouterr().err
    assert "the loss is no longer a number" in said and "accuracy undefined" in said and "nan" not in said


def test_changes_of_weights_that_are_undefined_are_empty(hollow, capsys):
    table = hollow.weights().assign(stable_rank=NAN)
    table.to_parquet(hollow.path / "weights.parquet")
    assert main(["weights", "hollow", "--json"]) == 0
    assert pd.DataFrame(strict(capsys.readouterr().out)["rows"])["stable_rank"].isna().all()
