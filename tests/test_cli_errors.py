"""Bad input on the command line: one sentence on stderr, exit code 2, nothing half-written, no traceback."""

import errno
import itertools
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import fakes
import pytest
from patience import PATIENCE

from llmft_core import checks, models, runs
from llmft_core.cli import main

HOUSE = Path(__file__).resolve().parent.parent


@pytest.fixture
def refused(capsys, runs_dir):
    """Run a command that must be refused; its sentence."""

    def run(*arguments, code=2):
        before = {path.name for path in runs_dir.glob("*")}
        assert main([str(argument) for argument in arguments]) == code
        said = capsys.readouterr()
        assert said.out == "" and said.err.strip() and "Traceback" not in said.err
        assert len(said.err.strip().splitlines()) == 1 and len(said.err) < 400
        assert {path.name for path in runs_dir.glob("*")} == before, "nothing is left behind"
        return said.err

    return run


@pytest.fixture
def data(tmp_path):
    """A data folder of our own rows."""
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    rows = [{"idx": i, "sentence": f"tea number {i}", "label": i % 2} for i in range(20)]
    for part in ("train", "validation"):
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "nope"], "Unknown model 'nope'. Choose one of mini"),
        (["--task", "nope"], "Unknown task 'nope'. Choose one of"),
        (["--split", "70-30"], "'--split': '70-30' is not one of 'official', '80-20', 'grouped'"),
        (["--preset", "best"], "'--preset'"),
        (["--epochs", "many"], "'--epochs': must be a valid number; `"),
        (["--batch-size", "-4"], "--batch-size"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--name", "../x"], "cannot name a run"),
        (["--warp", "9"], "No such option: --warp"),
        (["--data-dir", "/no/such"], "/no/such: no such data folder"),
        (["--data-file", "/no/such.csv", "--split", "80-20"], "no such file"),
        (["--data-file", "/no/such.csv"], "/no/such.csv: no such file"),
        (["--model", "/no/such/folder"], "/no/such/folder: no such folder"),
        (["--epochs", "nan"], "--epochs nan must be a finite number."),
        (["--epochs", "0"], "--epochs 0.0 must be greater than 0."),
        (["--model", "/"], "holds no config.json"),
    ],
)
def test_a_bad_setting_is_told_before_a_run_is_made(refused, flags, words):
    assert words in refused("fine-tune", *flags)


@pytest.mark.parametrize(
    "command", ["", "fin-tune", "compare", "runs show", "evaluate --task sst2", "score --task sst2"]
)
def test_a_command_that_is_wrong_or_incomplete_is_told(command, capsys):
    assert main(command.split()) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_that_is_not_there_is_told(refused):
    for command in (
        ["compare"],
        ["weights"],
        ["runs", "show"],
        ["runs", "delete"],
        ["runs", "stop"],
        ["runs", "resume"],
        ["chat"],
    ):
        assert "no run named 'nope'" in refused(*command, "nope")
        assert "'mini' is a model" in refused(*command, "mini")
        assert "but there is 'sst2-mini-full'" in refused(*command, "sst2-mini-ful")
    assert "--examples -1" in refused("evaluate", "--model-path", "mini", "--task", "sst2", "--examples", -1)
    assert "named 'nope'" in refused("evaluate", "--model_path", "nope", "--task", "sst2")
    assert "there is 'sst2-mini-full'" in refused("evaluate", "--model-path", "sst2-mini-ful", "--task", "sst2")


def test_a_gated_model_without_a_token_is_told_with_the_link(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    said = refused("fine-tune", "--model", "llama3.2-1b")
    assert "https://huggingface.co/meta-llama/Llama-3.2-1B" in said and "HF_TOKEN" in said


def test_no_network_is_told_after_one_try(tmp_path):
    """To a Hub that takes the call and never answers, which is worse than no network at all."""
    environment = {
        key: value for key, value in os.environ.items() if not re.search("offline|proxy", key, re.IGNORECASE)
    }
    command = [sys.executable, "-m", "llmft_core", "fine-tune", "--model", "owner/model"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HOUSE, timeout=PATIENCE)
        assert _calls_to(silent) == 1
    assert done.returncode == 2 and "no network" in done.stderr and "--model mini" in done.stderr


def _calls_to(server: socket.socket) -> int:
    """How many callers the system took on behalf of a server that never looked."""
    server.setblocking(False)
    for number in itertools.count():
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return number


def test_offline_mode_is_named_as_the_reason(refused):
    assert "HF_HUB_OFFLINE is set" in refused("fine-tune", "--model", "owner/model")


def test_the_hub_s_answers_become_sentences(monkeypatch):
    import httpx
    import huggingface_hub
    from huggingface_hub import errors

    response = httpx.Response(401, request=httpx.Request("HEAD", "https://x"))
    monkeypatch.setattr(checks, "hub_answers", lambda: True)
    for error, words in (
        (errors.GatedRepoError("gated", response=response), "owner/model is gated: accept its licence at https://"),
        (errors.RepositoryNotFoundError("none", response=response), "The Hub has no model 'owner/model'"),
        (errors.HfHubHTTPError("no", response=response), "The Hub answers 401"),
        (errors.LocalEntryNotFoundError("An error happened"), "HF_HUB_OFFLINE is set"),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
        with pytest.raises(ValueError, match=words):
            checks.model("owner/model")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "empty.csv: the file is empty"),
        ("binary.csv", b"\x00\xff\xfe\x80" * 100, "binary.csv"),
        ("binary.parquet", b"PAR1 not really", "binary.parquet"),
        ("binary.json", b"\x80\x81", "binary.json"),
        ("half.json", b'[{"idx": 1, "sen', "half.json"),
        ("wrong.csv", b"a,b\n1,2\n", "wrong.csv, row 1: columns sentence, label are missing"),
        ("label.csv", b"idx,sentence,label\n1,fine,7\n", "label.csv, row 1, column label"),
        ("text.txt", b"idx,sentence,label\n", "not a data file"),
        ("rows.jsonl", b"[1, 2]\n", "rows.jsonl, row 1"),
    ],
)
def test_a_bad_data_file_is_told_by_every_command_that_reads_one(refused, tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    (tmp_path / "p.json").write_text('{"1": "positive"}')
    assert words in refused("fine-tune", "--split", "80-20", "--data-file", path)
    assert words in refused("evaluate", "--model-path", "mini", "--task", "sst2", "--data-file", path)
    assert words in refused("score", "--task", "sst2", "--predictions", tmp_path / "p.json", "--data-file", path)


def test_a_huge_data_file_is_told_without_reading_it(refused, tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)  # a hole: it takes no space
    assert "huge.csv: 3.0 GB" in refused("evaluate", "--model-path", "mini", "--task", "sst2", "--data-file", path)


def test_one_file_cannot_be_split_officially(refused, tmp_path):
    (tmp_path / "a.csv").write_text("idx,sentence,label\n1,fine,1\n")
    assert "--split 80-20" in refused("fine-tune", "--data-file", tmp_path / "a.csv")


def test_a_data_folder_with_one_bad_part_is_told(refused, data):
    (data / "sst2" / "validation.jsonl").write_text('{"idx": 0, "sentence": 5, "label": 1}\n')
    assert "validation.jsonl, row 1, column sentence" in refused("fine-tune", "--data-dir", data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON"),
        ("[]", "holds no predictions"),
        ('{"0": "positive"}', "1 predictions have no example (such as 0)"),
        ('{"1": "positive"}', "1 of 2 examples have no prediction (such as 2)"),
        ('{"1": null, "2": 1}', "the answer of '1' is null"),
        ('{"1": {"a": 1}, "2": 1}', "the answer of '1'"),
    ],
)
def test_bad_predictions_are_told(refused, tmp_path, content, words):
    (tmp_path / "a.csv").write_text("idx,sentence,label\n1,fine,1\n2,cold,0\n")
    (tmp_path / "p.json").write_text(content)
    files = ["--predictions", tmp_path / "p.json", "--data-file", tmp_path / "a.csv"]
    assert words in refused("score", "--task", "sst2", *files)


def test_a_damaged_run_is_told(refused, runs_dir):
    fakes.write_run(runs_dir / "r")
    (runs_dir / "r" / "config.json").write_bytes(b"\x00")
    assert "damaged" in refused("evaluate", "--model-path", "r", "--task", "sst2")
    assert "damaged" in refused("runs", "resume", "r")
    (runs_dir / "r" / "metrics.json").write_text("{")
    assert "metrics.json is damaged" in refused("compare", "r")


def test_a_run_without_a_result_says_what_it_is_doing(refused, runs_dir):
    fakes.write_run(runs_dir / "r", state="failed")
    assert "r has no result: it failed (" in refused("compare", "r")
    assert "no weight changes" in refused("weights", "r")
    assert "holds no adapter" in refused("evaluate", "--model-path", "r", "--task", "sst2")


def test_a_full_disk_is_told_and_leaves_nothing(refused, data, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "disk is full" in refused("fine-tune", "--data-dir", data)


def test_a_runs_folder_that_is_a_file_is_told(refused, data, tmp_path):
    (tmp_path / "file").touch()
    assert "is a file where a folder is needed" in refused(
        "fine-tune", "--data-dir", data, "--runs-dir", tmp_path / "file"
    )


def test_folders_of_weights_are_looked_at_before_torch_is(refused, tmp_path):
    assert "no such folder" in refused("weights", "--base", "/no/such", "--tuned", tmp_path)
    assert "holds no .safetensors" in refused("weights", "--base", "mini", "--tuned", tmp_path)
    assert "Give a run, or both" in refused("weights")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").touch()
    assert "holds no .safetensors" in refused("fine-tune", "--model", tmp_path)


def test_text_that_is_not_there_is_told(refused, tmp_path):
    assert "no such text file" in refused("pretrain", "--text", tmp_path / "no.txt", "--out", tmp_path / "out")
    (tmp_path / "a.txt").write_text("a")
    assert "--steps 0" in refused("pretrain", "--text", tmp_path / "a.txt", "--out", tmp_path / "out", "--steps", 0)
    assert not (tmp_path / "out").exists()


def test_a_bug_is_one_line_and_exit_1(refused, monkeypatch):
    monkeypatch.setattr(runs, "all", lambda: 1 / 0)
    assert "ZeroDivisionError" in refused("runs", code=1)


def test_every_model_of_ours_is_known_to_the_checks():
    assert checks.model("mini") is models.MODELS[0]
