"""The shelf of runs: how a run may be called, when it was made, and what is said about the rows behind its figures."""

import time

import fakes
import pytest

from llmft_core import config, runs
from llmft_core.cli import main


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """An empty folder of runs that ship."""
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


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
