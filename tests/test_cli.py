"""The command line: a run from beginning to end (with a toy recipe), and what every command prints."""

import importlib
import io
import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import fakes
import psutil
import pytest
from fake_speaker import FakeSpeaker
from patience import PATIENCE, until

from llmft_core import jobs, runs
from llmft_core.cli import dashed, main
from llmft_core.config import RunConfig

HERE = Path(__file__).resolve().parent
ENDLESS = "10000"  # steps of a twentieth of a second: until somebody stops it


@pytest.fixture(autouse=True)
def house(toy, monkeypatch, tmp_path):
    """Runs are worked off by `toy_recipe`, on a few rows of ours; none ships."""
    monkeypatch.setenv("LLMFT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(runs, "SHIPPED", tmp_path / "shipped")
    rows = [{"idx": i, "sentence": f"the tea was {w} {i}", "label": i % 2} for i, w in enumerate(["cold", "fine"] * 10)]
    for part in ("train", "validation"):
        path = tmp_path / "data" / "sst2" / f"{part}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def call(capsys):
    def run(*arguments):
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def finished(runs_dir):
    return runs.Run(fakes.write_run(runs_dir / "done"))


def background(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "llmft_core", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_trains(run):
    """There is no such run at first."""
    kept = runs.root() / run / "checkpoint.json"
    until(kept.exists, f"{run} takes a step")


# ---- fine-tune --------------------


def test_fine_tune_ends_with_a_finished_run_and_its_verdict(call, runs_dir):
    code, out, err = call("fine-tune", "--task", "SST-2", "--name", "mine", "--seed", "3", "--train_examples", "10")
    assert code == 0 and runs.find("mine").state().kind == "finished"
    config = runs.find("mine").config
    assert (config.task, config.seed, config.train_examples, config.model) == ("sst2", 3, 10, "mini")
    assert out.startswith("Better: accuracy") and "compare mine" in out
    assert "Loading" in err and "step 8 of 8, loss 0.125" in err
    assert Path(config.data_dir).is_absolute(), "the worker may run elsewhere"


def test_fine_tune_has_a_flag_for_every_setting(call):
    code, out, _ = call("fine-tune", "--help")
    assert code == 0
    for name, field in RunConfig.model_fields.items():
        assert f"--{name.replace('_', '-')} " in out and field.description.split()[0] in out


def test_ctrl_c_cancels_the_run_and_says_how_to_go_on(monkeypatch, runs_dir):
    monkeypatch.setenv("TOY_STEPS", ENDLESS)
    shell = background("fine-tune", "--task", "sst2", "--name", "r")
    until_trains("r")
    shell.send_signal(signal.SIGINT)
    out, err = shell.communicate(timeout=PATIENCE)
    assert shell.returncode == 130 and runs.find("r").state().kind == "cancelled"
    assert "r is cancelled at step" in err and "runs resume r" in err and "Traceback" not in err


def test_a_closed_terminal_does_not_end_the_run(monkeypatch, runs_dir):
    monkeypatch.setenv("TOY_DOES", "wait")
    shell = background("fine-tune", "--task", "sst2", "--name", "r")
    until_trains("r")
    shell.send_signal(signal.SIGHUP)
    shell.communicate(timeout=PATIENCE)
    assert runs.find("r").state().kind == "running"
    (runs_dir / "r" / "go").touch()
    assert jobs.wait(runs.find("r"), PATIENCE).kind == "finished"


def test_a_failed_run_is_exit_1_with_its_sentence(call, monkeypatch):
    monkeypatch.setenv("TOY_DOES", "memory")
    code, out, err = call("fine-tune", "--task", "sst2", "--name", "r")
    assert (
        code == 1
        and out == ""
        and "r failed: The memory was not enough: lower --batch-size" in err
        and "log.txt" in err
    )


def test_a_run_can_be_started_stopped_and_resumed(call, monkeypatch):
    monkeypatch.setenv("TOY_STEPS", ENDLESS)
    assert call("fine-tune", "--task", "sst2", "--name", "r", "--no-wait")[:2] == (0, "r\n")
    until_trains("r")
    code, out, _ = call("runs", "stop", "r")
    assert code == 0 and "cancelled at step" in out
    reached = json.loads((runs.find("r").path / "checkpoint.json").read_text())
    monkeypatch.setenv("TOY_STEPS", str(reached + 2))
    code, out, err = call("runs", "resume", "r")
    assert code == 0 and "Better" in out
    assert f"step {reached + 2} of {reached + 2}" in err and "step 1 of" not in err


def test_precompute_ships_a_run_without_traces_of_this_machine(call, monkeypatch, tmp_path):
    from llmft_core import precomputed

    monkeypatch.setitem(precomputed.RUNS, "tiny", dict(task="sst2", model="mini"))
    code, out, err = call("precompute", "--only", "tiny")
    assert code == 0, err
    shipped = runs.find("tiny")
    assert shipped.shipped and shipped.state().kind == "finished" and shipped.config.data_dir is None
    assert {path.name for path in shipped.path.iterdir()} == {
        *("config.json", "events.jsonl", "predictions.parquet", "weights.parquet", "metrics.json", "adapter")
    }
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in shipped.path.rglob("*.json*"))
    assert "there already" in call("precompute", "--only", "tiny")[2]


# ---- reading --------------------


def test_compare_prints_the_verdict_and_a_table(call, finished):
    code, out, _ = call("compare", "done")
    assert code == 0 and out.startswith("Better: accuracy")
    assert "Accuracy" in out and "[" in out and "fixed" in out and "nan" not in out


def test_compare_json_has_its_promised_shape(call, finished):
    code, out, err = call("compare", "done", "--json")
    found = json.loads(out)
    assert code == 0 and err == ""
    assert {"task", "n", "zero_shot", "fine_tuned", "delta", "flips"} <= set(found)
    assert set(found["delta"]["accuracy"]) == {"value", "low", "high", "p"}
    assert {"fixed", "broken", "both_right", "both_wrong"} <= set(found["flips"])


def test_runs_are_listed(call, finished):
    fakes.write_run(finished.path.parent / "broke", state="failed")
    (finished.path.parent / "junk").mkdir()
    code, out, _ = call("runs")
    assert code == 0 and "● finished" in out and "▲ failed: out of memory" in out and "damaged" in out
    code, out, _ = call("runs", "--json")
    found = {run["name"]: run for run in json.loads(out)}
    assert set(found) == {"done", "broke", "junk"}
    wanted = {"name", "task", "model", "method", "split", "state", "shipped", "headline", "seconds"}
    assert wanted <= set(found["done"]) and found["done"]["headline"]["metric"] == "accuracy"
    assert set(found["done"]["headline"]) == {"metric", "zero_shot", "fine_tuned", "low", "high", "p"}


def test_a_run_is_shown_and_deleted(call, finished):
    code, out, _ = call("runs", "show", "done")
    assert code == 0 and "learning rate" in out and "Better: accuracy" in out
    assert json.loads(call("runs", "show", "done", "--json")[1])["metrics"]["n"] == 60
    fakes.write_run(finished.path.parent / "every-weight", method="full")
    assert "lora rank" in out and "lora" not in call("runs", "show", "every-weight")[1]
    assert call("runs", "delete", "done")[0] == 0 and not finished.path.exists()


@pytest.mark.parametrize("free, told", [((), "positive or negative?"), (("--free",), "")])
def test_chat_says_what_it_does_with_a_line(call, finished, monkeypatch, free, told):
    monkeypatch.setattr(jobs, "Speaker", FakeSpeaker)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a warm film\n"))
    code, out, err = call("chat", "done", *free)
    assert code == 0 and out.startswith("zero-shot") and told in err and bool(err) == bool(told)


def test_weights_of_a_run(call, finished):
    code, out, _ = call("weights", "done")
    assert code == 0 and "compared tensors changed" in out and "q_proj" in out
    assert len(json.loads(call("weights", "done", "--json")[1])["rows"]) == len(finished.weights())


def test_models_and_tasks_are_listed(call):
    assert "mini" in call("models")[1] and "squad_v2" in call("tasks")[1]
    assert {"key", "gated", "parameters", "what"} <= set(json.loads(call("models", "--json")[1])[0])
    assert {task["name"] for task in json.loads(call("tasks", "--json")[1])} >= {"sst2", "squad_v2"}


def test_runs_dir_is_where_runs_are_looked_for(call, tmp_path):
    fakes.write_run(tmp_path / "other" / "there")
    assert "there" in call("runs", "--runs-dir", str(tmp_path / "other"))[1]
    assert call("compare", "there", "--runs_dir", str(tmp_path / "other"))[0] == 0


def test_a_flag_may_be_spelt_with_underscores():
    assert dashed(["--model_path", "a_b", "--data_dir=x_y", "-x_y"]) == [
        "--model-path",
        "a_b",
        "--data-dir=x_y",
        "-x_y",
    ]


def test_help_is_quick_and_loads_nothing_heavy():
    code = "import sys; from llmft_core.cli import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for library in ("torch", "transformers", "pandas", "numpy", "gradio", "huggingface_hub"):
        assert f"'{library}'" not in done.stdout


def test_the_public_names_are_found_when_they_are_used():
    code = (
        "import sys, llmft_core; assert 'llmft_core.api' not in sys.modules;"
        "assert all(getattr(llmft_core, name) for name in llmft_core.__all__); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'fine_tun'"):
        import llmft_core

        _ = llmft_core.fine_tun


def test_a_reader_that_has_seen_enough_is_no_error(finished):
    command = f"{sys.executable} -m llmft_core runs --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_the_console_script_takes_the_arguments_of_the_shell(monkeypatch, capsys):
    script = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["scripts"]["llmft"]
    module, name = script.split(":")
    monkeypatch.setattr(sys, "argv", ["llmft", "tasks"])
    assert getattr(importlib.import_module(module), name)() == 0
    assert "sst2" in capsys.readouterr().out


def test_who_ends_a_command_ends_what_it_started(tmp_path):
    text = tmp_path / "long.txt"
    text.write_text("The heron waited by the mill. " * 200_000)  # far more than is read in this test
    command = background("bits-per-byte", "mini", str(text))

    def at_work():
        return [child for child in psutil.Process(command.pid).children() if "bits_per_byte" in child.cmdline()]

    until(at_work, "a child measures")
    (child,) = at_work()
    command.terminate()
    assert command.wait(PATIENCE) == 130
    assert not child.is_running()
