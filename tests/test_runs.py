"""Runs: a folder is made in one step, its state is worked out, damage is contained, reading leaves no trace."""

import errno
import os
import time

import fakes
import pytest
from filelock import FileLock

from llmft_core import config, events, files, runs
from llmft_core.events import Cancelled, Failed, Finished, Started, Step


@pytest.fixture
def run(runs_dir):
    return runs.create(config.make(task="sst2"))


def say(run, *said):
    for event in said:
        events.append(run.path / "events.jsonl", event)


def everything_under(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def take_lock(run, at=None):
    lock = FileLock(run.path / "lock")
    lock.acquire(timeout=0)
    os.utime(run.path / "lock", at and (at, at))
    return lock


# ---- made, found, deleted --------------------


def test_a_new_run_is_named_after_its_settings_and_holds_only_them(run):
    assert run.name.startswith("sst2-mini-lora-2")
    assert [path.name for path in run.path.iterdir()] == ["config.json"]
    assert runs.find(run.name).config == run.config == config.make(task="sst2")


def test_two_runs_of_one_second_get_two_names(runs_dir):
    made = {runs.create(config.make()).name for _ in range(5)}
    assert len(made) == 5 and all(runs.NAME.fullmatch(name) for name in made)


def test_a_name_is_safe_whatever_the_model_is_called(runs_dir):
    for model in ("owner/We ird: näme!", "/tmp/../etc", "...", "x" * 300):
        assert runs.NAME.fullmatch(runs.create(config.make(model=model)).name)


def test_an_own_name_is_taken_only_once(runs_dir):
    runs.create(config.make(), "mine")
    with pytest.raises(ValueError, match="mine already"):
        runs.create(config.make(), "mine")
    assert [run.name for run in runs.all() if not run.shipped] == ["mine"]


def test_a_name_that_ships_cannot_be_freed_by_deleting(run, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shipped" / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match="mine already: choose another name.$"):
        runs.create(config.make(), "mine")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "../x", "a/b", "a\\b", "a\0b", "x" * 81, "a b", "nul\n", "ü"])
def test_a_name_that_could_lead_elsewhere_is_refused(runs_dir, name):
    with pytest.raises(ValueError):
        runs.find(name)
    if name:
        with pytest.raises(ValueError):
            runs.create(config.make(), name)
    assert not any(runs_dir.glob("*"))


def test_a_link_that_leads_elsewhere_is_no_run(run, tmp_path):
    fakes.write_run(tmp_path / "elsewhere")
    (run.path.parent / "link").symlink_to(tmp_path / "elsewhere")
    assert "link" not in [each.name for each in runs.all()]
    with pytest.raises(ValueError, match="no run named 'link'"):
        runs.find("link")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(runs_dir, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="disk is full"):
        runs.create(config.make())
    assert list(runs_dir.iterdir()) == []


def test_runs_are_listed_newest_first_and_shipped_ones_last(runs_dir, tmp_path, monkeypatch):
    shipped = tmp_path / "shipped"
    monkeypatch.setattr(runs, "SHIPPED", shipped)
    fakes.write_run(shipped / "b-shipped")
    fakes.write_run(shipped / "a-shipped")
    for age, name in ((30, "old"), (10, "new"), (20, "middle")):
        path = runs.create(config.make(), name).path / "config.json"
        os.utime(path, (time.time() - age,) * 2)
    assert [run.name for run in runs.all()] == ["new", "middle", "old", "a-shipped", "b-shipped"]
    assert [run.shipped for run in runs.all()] == [False] * 3 + [True] * 2
    assert runs.find("a-shipped").title().endswith("shipped")


def test_one_s_own_run_comes_before_a_shipped_one_of_the_same_name(runs_dir, tmp_path, monkeypatch):
    runs.create(config.make(), "twin")
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    fakes.write_run(tmp_path / "shipped" / "twin")
    assert not runs.find("twin").shipped and len(runs.all()) == 1


def test_delete_removes_a_run_but_none_that_ships_or_works(run, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    fakes.write_run(tmp_path / "shipped" / "theirs")
    with pytest.raises(ValueError, match="ships"):
        runs.delete("theirs")
    say(run, Started(1))
    lock = take_lock(run, at=time.time() - 5)
    with pytest.raises(ValueError, match="running: stop it"):
        runs.delete(run.name)
    lock.release()
    runs.delete(run.name)
    assert list(run.path.parent.iterdir()) == []


# ---- state --------------------


def test_state_follows_the_last_turn(run):
    assert run.state().kind == "queued"
    lock = take_lock(run, at=time.time() - 5)
    assert run.state().kind == "queued"
    say(run, Started(1))
    assert run.state() == ("running", "starting", "")
    say(run, Step(3, 12, 0.5, 1e-3))
    assert run.state() == ("running", "25 %", "")
    lock.release()
    assert run.state().kind == "died"
    for word, state in (
        (Finished(2.0), ("finished", "", "")),
        (Cancelled(1200), ("cancelled", "at step 1,200", "")),
        (Failed("gated", "Ask for access."), ("failed", "Ask for access.", "gated")),
    ):
        say(run, word)
        assert run.state() == state


def test_a_resumed_run_that_waits_for_its_turn_is_queued(run):
    say(run, Started(1), Cancelled(3))
    os.utime(run.path / "events.jsonl", (time.time() - 5,) * 2)
    with take_lock(run):
        assert run.state().kind == "queued"
        say(run, Started(2))
        os.utime(run.path / "lock", (time.time() - 5,) * 2)
        assert run.state().kind == "running"


def test_a_run_whose_worker_never_came_up_has_died(run):
    take_lock(run).release()
    assert run.state().kind == "died" and "never began" in run.state().detail


def test_a_run_that_nobody_started_is_not_queued_for_ever(run):
    os.utime(run.path / "config.json", (time.time() - 60,) * 2)
    assert run.state().kind == "died"


def test_a_run_killed_after_it_was_asked_to_stop_is_cancelled(run):
    say(run, Started(1), Step(7, 12, 0.5, 1e-3))
    assert run.state().kind == "died"
    (run.path / "stop").touch()
    assert run.state() == ("cancelled", "at step 7", "")


def test_those_who_wait_stand_in_the_order_in_which_they_came(runs_dir):
    now = time.time()
    made = [runs.create(config.make(), f"r{i}") for i in range(4)]
    for event in (Started(1),):
        say(made[2], event)
    locks = [take_lock(run, at=now - age) for run, age in zip(made[:3], (20, 10, 30), strict=True)]
    os.utime(made[2].path / "events.jsonl", (now - 29,) * 2)
    assert [run.ahead() for run in made] == [1, 2, 0, 3]
    assert [run.state() for run in made[:3]] == [
        ("queued", "1 ahead", ""),
        ("queued", "2 ahead", ""),
        ("running", "starting", ""),
    ]
    for lock in locks:
        lock.release()


def test_readers_do_not_take_each_other_for_the_worker(run):
    take_lock(run).release()
    import fcntl

    with (run.path / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # another reader looks at this very moment
        assert not run.is_held()


def test_reading_a_run_leaves_no_trace(tmp_path):
    for state in ("finished", "running", "queued", "failed", "cancelled"):
        run = runs.Run(fakes.write_run(tmp_path / state, state=state))
        before = everything_under(tmp_path)
        (
            run.state(),
            run.summary(),
            run.title(),
            run.weights(),
            run.metrics(),
            run.log_tail(),
            run.ahead(),
            run.is_held(),
        )
        assert everything_under(tmp_path) == before, state


def test_working_time_leaves_out_the_pause_of_a_resumed_run(run):
    assert run.seconds() == 0.0
    say(run, Started(1, at=100.0), Step(1, 9, 0.5, 1e-3, at=110.0), Started(2, at=500.0), Finished(15.0, at=505.0))
    assert run.seconds() == 15.0


# ---- damage --------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\x00\xff\xfe binary", b'{"task": 7}', b'{"preset": "none"}', b"null", b"[" * 100_000],
)
def test_a_damaged_folder_does_not_break_the_list(runs_dir, content):
    good = runs.create(config.make(), "good")
    bad = runs.create(config.make(), "bad")
    (bad.path / "config.json").write_bytes(content)
    listed = {run.name: run for run in runs.all()}
    assert set(listed) >= {good.name, "bad"}
    state = listed["bad"].state()
    assert state.kind == "failed" and state.detail.startswith("damaged: config.json") and state.reason == "damaged"
    assert listed["bad"].summary()["state"] == "failed" and "damaged" in listed["bad"].title()
    runs.delete("bad")


def test_a_folder_without_a_config_is_damaged_and_a_hidden_one_is_none(runs_dir):
    (runs_dir / "empty").mkdir(parents=True)
    (runs_dir / ".new-half").mkdir()
    (runs_dir / ".queue.lock").touch()
    (runs_dir / "notes.txt").touch()
    own = [run for run in runs.all() if not run.shipped]
    assert [(run.name, run.state().detail) for run in own] == [("empty", "damaged: config.json is missing")]


def test_damaged_results_are_one_sentence(tmp_path):
    run = runs.Run(fakes.write_run(tmp_path / "r"))
    assert run.state().kind == "finished" and len(run.predictions()) == 120 and run.headline()["metric"] == "accuracy"
    for file in ("metrics.json", "predictions.parquet", "weights.parquet"):
        (run.path / file).write_bytes(b"\x00PAR1 nonsense")
        with pytest.raises(ValueError, match=f"{file} is damaged"):
            getattr(run, file.split(".")[0])()
    assert run.state() == ("failed", "damaged: metrics.json cannot be read", "damaged") and run.headline() is None


def test_an_absent_result_is_none_or_says_why(run):
    assert run.metrics() is None and run.weights() is None and run.headline() is None
    with pytest.raises(ValueError, match="no predictions: it is queued"):
        run.predictions()


def test_a_metrics_file_that_changes_is_read_again(tmp_path):
    run = runs.Run(fakes.write_run(tmp_path / "r"))
    assert run.metrics()["n"] == 60
    files.write_json(run.path / "metrics.json", {**run.metrics(), "n": 61})
    assert run.metrics()["n"] == 61


def test_the_log_is_shown_from_its_end_and_without_a_token(run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-token-value")
    (run.path / "log.txt").write_text("early\n" * 5000 + "using secret-token-value and hf_" + "a" * 34 + "\nlast\n")
    tail = run.log_tail(2)
    assert tail.splitlines() == ["using <HF_TOKEN> and <HF_TOKEN>", "last"]


def test_runs_of_a_space_lie_on_its_storage_if_there_is_one(monkeypatch, tmp_path):
    monkeypatch.delenv("LLMFT_RUNS_DIR")
    monkeypatch.chdir(tmp_path)
    assert runs.root() == tmp_path / "runs"
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == "/data")
    monkeypatch.setattr(os, "access", lambda path, mode: path == "/data")
    assert str(runs.root()) == "/data/runs"
