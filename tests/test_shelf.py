"""The shelf of runs: how a run may be called, when it was made, and what is said about the rows behind its figures."""

import json
import re
import time

import fakes
import pytest

from llmft_core import config, files, frames, runs
from llmft_core.cli import main
from llmft_core.ui import tables


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """An empty folder of runs that ship."""
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


# ---- names --------------------


@pytest.mark.parametrize("name", ["queue.lock", "QUEUE.LOCK", "run.log", "a.tmp", "metrics.json", "b.parquet", "mini"])
def test_a_name_of_a_file_of_ours_or_of_a_model_is_refused_in_words(runs_dir, capsys, name):
    assert main(["fine-tune", "--task", "sst2", "--name", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"'{name}' cannot name a run") and "choose another" in said and len(said.splitlines()) == 1
    with pytest.raises(ValueError, match="cannot name a run"):
        runs.create(config.make(), name)
    assert not any(runs_dir.glob("*"))


def test_a_run_that_has_such_a_name_already_can_still_be_shown_and_deleted(runs_dir):
    fakes.write_run(runs_dir / "queue.lock")
    assert runs.find("queue.lock") in runs.all()
    runs.delete("queue.lock")
    assert not (runs_dir / "queue.lock").exists()


@pytest.mark.parametrize("name", ["lock", "llama3.2", "v1.json-like", "mini-2", "a.b"])
def test_a_name_that_only_looks_a_little_like_one_is_fine(runs_dir, name):
    assert runs.create(config.make(), name).name == name


# ---- when --------------------


def test_a_copied_run_keeps_the_time_at_which_it_began(runs_dir, shipped, capsys):
    """A clone of the repository and a copied folder have the file times of the copy."""
    fakes.write_run(shipped / "old")
    runs.create(config.make(), "new")
    fakes.write_run(runs_dir / "copied")
    for name in ("old", "copied"):
        assert runs.find(name).created() == runs.find(name).summary()["created"] == fakes.START
    assert [run.name for run in runs.all()] == ["new", "copied", "old"]
    assert time.strftime("%d %b %H:%M", time.localtime(fakes.START)) in runs.find("copied").title()
    assert main(["runs", "show", "old"]) == 0
    assert time.strftime("%d %B %Y, %H:%M", time.localtime(fakes.START)) in capsys.readouterr().out


@pytest.mark.parametrize("line", ["", "{", "[]\n", '{"kind": "started", "pid": 1', '{"kind": "new"}\n', "x" * 99_999])
def test_a_first_word_that_cannot_be_read_leaves_the_time_of_the_file(runs_dir, line):
    run = runs.create(config.make())
    (run.path / "events.jsonl").write_text(line)
    assert run.created() == (run.path / "config.json").stat().st_mtime


# ---- where from --------------------


@pytest.fixture
def three(runs_dir):
    """A run on our own samples, one on a data folder, and one without a result yet."""
    fakes.write_run(runs_dir / "played")
    folder = fakes.write_run(runs_dir / "real")
    found = json.loads((folder / "metrics.json").read_text())
    files.write_json(folder / "metrics.json", found | {"source": "data-dir"})
    fakes.write_run(runs_dir / "failed", state="failed")
    return runs_dir


def test_the_list_says_whose_figures_come_from_our_own_samples(three, shipped, capsys):
    assert main(["runs"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["run"].endswith("rows from") and lines["played"].endswith("our samples")
    assert main(["compare", "played"]) == 0
    assert ", rows from our samples.\n" in capsys.readouterr().out
    assert lines["real"].endswith("data folder") and lines["failed"].endswith("official")
    assert main(["runs", "--json"]) == 0
    found = {run["name"]: run["source"] for run in json.loads(capsys.readouterr().out)}
    assert found == {"played": "samples", "real": "data-dir", "failed": None}
    assert main(["runs", "show", "played"]) == 0 and "our samples" in capsys.readouterr().out


def test_a_runs_folder_that_is_not_there_is_told(tmp_path, runs_dir, capsys):
    absent = tmp_path / "absent"
    assert main(["runs", "--json", "--runs-dir", str(absent)]) == 0
    said = capsys.readouterr()
    assert said.err == f"{absent}: no such folder, so only the runs that ship are seen; check --runs-dir.\n"
    assert json.loads(said.out) == [run.summary() for run in runs.all()] and not absent.exists()
    runs_dir.mkdir()
    assert main(["runs", "--runs-dir", str(runs_dir)]) == 0 and "no such" not in capsys.readouterr().err


def test_the_page_marks_them_too(three, shipped):
    page = tables.run_list(frames.runs_table(runs.all()), "", {}, {})
    marked = re.findall(r'data-key="(\w+)"[^>]*>\w+ <span class="muted">our samples</span>', page)
    assert marked == ["played"] and page.count("our samples") == 1
    titles = [runs.find(name).title().split(", ")[1] for name in ("played", "real")]
    assert titles == ["our samples", "official"], "the list to choose from says so too"
