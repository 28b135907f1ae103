"""Jobs: real worker processes with a toy recipe are started, queued, killed, stopped and resumed, without torch."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE, until

from llmft_core import api, config, events, jobs, runs
from llmft_core.jobs import children

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.usefixtures("toy")


def make(name):
    return runs.create(config.make(task="sst2"), name)


@pytest.fixture
def slow(monkeypatch):
    """More steps than any test waits for: it works until somebody stops it."""
    monkeypatch.setenv("TOY_STEPS", "10000")


@pytest.fixture
def does(monkeypatch):
    return lambda what: monkeypatch.setenv("TOY_DOES", what)


def is_training(run):
    return any(isinstance(event, events.Step) for event in run.history())


def until_trains(run):
    until(lambda: is_training(run), f"{run.name} takes a step", lambda: f"{run.state()}, {run.log_tail()}")


def pid(run):
    return [event.pid for event in run.history() if isinstance(event, events.Started)][-1]


def kinds(run):
    return [event.kind for event in run.history()]


def test_a_run_is_started_and_finishes():
    run = make("r")
    jobs.start(run)
    assert run.is_held(), "start returns when the worker lives"
    assert jobs.wait(run, PATIENCE) == ("finished", "", "")
    assert kinds(run) == ["started", "stage", *["step"] * 8, "finished"]
    assert len(run.predictions()) == 40 and "the toy recipe works" in run.log_tail()
    assert run.seconds() >= 8 * 0.05, "the steps alone sleep that long"
    assert not (run.path / ".reserve").exists()


def test_the_worker_is_no_child_of_the_terminal_and_is_polite(slow):
    run = make("r")
    jobs.start(run)
    until_trains(run)
    assert os.getsid(pid(run)) == pid(run) != os.getsid(0)
    environment = Path(f"/proc/{pid(run)}/environ").read_bytes().split(b"\0")
    assert {b"OMP_WAIT_POLICY=PASSIVE", b"TQDM_DISABLE=1", b"HF_HUB_DISABLE_PROGRESS_BARS=1"} <= set(environment)
    assert {b"TOKENIZERS_PARALLELISM=false", b"MALLOC_MMAP_THRESHOLD_=33554432"} <= set(environment)


def test_only_our_own_work_has_the_settings_that_make_it_quick(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    ours, theirs = (children.environment(tmp_path, is_quick) for is_quick in (True, False))
    assert ours.items() >= children.QUICK.items()
    assert theirs["OMP_WAIT_POLICY"] == "ACTIVE" and not {"GOMP_SPINCOUNT", "MALLOC_TRIM_THRESHOLD_"} & set(theirs)


def test_a_run_outlives_whoever_started_it(slow, runs_dir):
    code = (
        "import os, signal; from llmft_core import api, config, jobs, runs;"
        "jobs.start(runs.create(config.make(), 'orphan')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, start_new_session=True, check=False)
    run = runs.find("orphan")
    until_trains(run)
    assert run.state().kind == "running"


def test_a_killed_worker_has_died_though_its_pid_looks_alive(slow):
    run = make("r")
    child = subprocess.Popen(  # ours, and not waited for: a zombie after the kill
        [sys.executable, "-m", "llmft_core.worker", str(run.path)], env=jobs.environment(run.path.parent)
    )
    until_trains(run)
    assert run.state().kind == "running"
    os.kill(child.pid, signal.SIGKILL)
    until(lambda: not run.is_held(), "the killed worker's lock is free")
    os.kill(child.pid, 0)  # no error: the number is still taken
    assert run.state().kind == "died"
    child.wait()


def test_a_killed_run_is_resumed_where_it_was(slow, monkeypatch):
    run = make("r")
    jobs.start(run)
    until(lambda: len(run.history()) > 6, "it takes a few steps", run.log_tail)
    os.kill(pid(run), signal.SIGKILL)
    until(lambda: run.state().kind == "died", "it has died", run.log_tail)
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"kind": "step", "at": 17')  # it was killed in the middle of a word
    reached = [event.step for event in run.history() if isinstance(event, events.Step)][-1]
    monkeypatch.setenv("TOY_STEPS", str(reached + 3))
    jobs.resume(run)
    assert jobs.wait(run, PATIENCE).kind == "finished"
    steps = [event.step for event in run.history() if isinstance(event, events.Step)]
    assert kinds(run).count("started") == 2 and kinds(run).count("stage") == 2
    assert steps[-3:] == [reached + 1, reached + 2, reached + 3] and steps == sorted(steps)


def test_stop_is_heard_at_the_next_step_and_keeps_what_was_learnt(slow, monkeypatch):
    run = make("r")
    jobs.start(run)
    until_trains(run)
    signals = []
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_signal", lambda run, number: signals.append(number))
        state = jobs.stop(run, PATIENCE)
    assert state.kind == "cancelled" and state.detail.startswith("at step")
    assert not signals, "the stop file was enough"
    assert kinds(run)[-1] == "cancelled" and (run.path / "checkpoint.json").exists()
    jobs.resume(run)
    assert not (run.path / "stop").exists()
    assert run.state().kind in ("queued", "running")


def test_a_worker_that_does_not_listen_is_interrupted(slow, does):
    does("deaf")
    run = make("r")
    jobs.start(run)
    until_trains(run)
    assert jobs.stop(run, 0.3, PATIENCE).kind == "cancelled"
    assert kinds(run)[-1] == "cancelled", "SIGTERM after the stop file ends it in the middle of a step"


def test_a_worker_that_is_stuck_is_killed_and_counts_as_cancelled(slow, does):
    does("stuck")
    run = make("r")
    jobs.start(run)
    until_trains(run)
    assert jobs.stop(run, 0.3, 0.3).kind == "cancelled"
    assert not run.is_held() and kinds(run)[-1] == "step"


def test_one_sigterm_is_a_request_and_ends_as_cancelled(slow):
    run = make("r")
    jobs.start(run)
    until_trains(run)
    os.kill(pid(run), signal.SIGTERM)
    assert jobs.wait(run, PATIENCE).kind == "cancelled" and kinds(run)[-1] == "cancelled"


def test_one_run_trains_at_a_time_in_the_order_of_coming(slow):
    first, second, third = (make(name) for name in ("c", "b", "a"))
    for run in (first, second, third):
        jobs.start(run)
    until_trains(first)
    assert [run.state() for run in (second, third)] == [("queued", "1 ahead", ""), ("queued", "2 ahead", "")]
    jobs.stop(first)
    until_trains(second)
    assert third.state() == ("queued", "1 ahead", "")
    assert jobs.stop(third) == ("cancelled", "before the first step", ""), "a waiting run can be stopped too"
    assert kinds(third) == ["cancelled"]


def test_the_next_run_starts_after_a_kill(slow):
    first, second = make("a"), make("b")
    jobs.start(first)
    until_trains(first)
    jobs.start(second)
    os.kill(pid(first), signal.SIGKILL)
    until_trains(second)
    assert first.state().kind == "died"


def test_a_run_cannot_be_started_twice(slow):
    run = make("r")
    jobs.start(run)
    with pytest.raises(ValueError, match="cannot be started again"):
        jobs.start(run)
    until_trains(run)
    with pytest.raises(ValueError, match="is running"):
        jobs.resume(run)
    second = subprocess.run(
        [sys.executable, "-m", "llmft_core.worker", str(run.path)],
        env=jobs.environment(run.path.parent),
        capture_output=True,
    )
    assert second.returncode == 3 and kinds(run).count("started") == 1


def test_a_finished_run_is_neither_resumed_nor_stopped():
    run = make("r")
    jobs.start(run)
    jobs.wait(run, PATIENCE)
    with pytest.raises(ValueError, match="is finished"):
        jobs.resume(run)
    with pytest.raises(ValueError, match="nothing to stop"):
        jobs.stop(run)
    assert not (run.path / "stop").exists()


def test_a_damaged_run_is_not_started():
    run = make("r")
    (run.path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        jobs.start(runs.find("r"))
    assert not (run.path / "log.txt").exists()


@pytest.mark.parametrize(
    ("what", "reason", "words"),
    [
        ("memory", "out-of-memory", "--batch-size"),
        ("disk", "disk-full", "/somewhere/adapter.safetensors"),
        ("value", "other", "ValueError: inside a library (see log.txt)."),
        ("exit", "other", "SystemExit: 5"),
    ],
)
def test_a_run_that_fails_says_why_and_the_log_has_the_rest(does, what, reason, words):
    does(what)
    run = make("r")
    jobs.start(run)
    state = jobs.wait(run, PATIENCE)
    assert state.kind == "failed" and state.reason == reason and words in state.detail
    assert "Traceback" in run.log_tail() and "\n" not in state.detail


def test_a_worker_that_cannot_start_is_told_at_once_and_leaves_no_run(monkeypatch, runs_dir, tmp_path):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(jobs.CallFailed, match="did not start"):
        api.begin(config.make(task="sst2"), "r")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ValueError, match="/no/such/python"):
        api.begin(config.make(task="sst2"), "r")
    assert list(runs_dir.iterdir()) == []


def test_a_recipe_that_cannot_be_imported_is_a_failed_run(monkeypatch):
    monkeypatch.setenv("LLMFT_RECIPE", "no_such_recipe")
    run = make("r")
    jobs.start(run)
    assert jobs.wait(run, PATIENCE).kind == "failed" and "no_such_recipe" in run.state().detail


def test_a_token_is_written_nowhere(does, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-very-secret-token")
    does("token")
    run = make("r")
    jobs.start(run)
    assert jobs.wait(run, PATIENCE).kind == "failed"
    written = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    assert b"<HF_TOKEN>" in written and b"a-very-secret-token" not in written


def test_the_last_word_is_said_on_a_full_disk(tmp_path):
    from llmft_core.worker.__main__ import Voice

    run = make("r")
    voice = Voice(run)
    assert voice.reserve.stat().st_size > 10_000
    voice.say_last(events.Failed("disk-full", "Full."))
    assert not voice.reserve.exists() and run.state().reason == "disk-full"
