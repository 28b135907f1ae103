"""Bad input that only a closer look finds: one sentence that says what to do, exit code 2, and nothing is left."""

import errno
import os
import shutil

import fakes
import pytest
import tiny

from llmft_core import checks, events, jobs, models, runs
from llmft_core.cli import follow, main


@pytest.fixture
def refused(capsys, runs_dir):
    """Run a command that must be refused; its sentence."""

    def run(*arguments):
        before = sorted(path.name for path in runs_dir.glob("*"))
        assert main([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == "" and len(said.err.strip().splitlines()) == 1, said.err
        assert sorted(path.name for path in runs_dir.glob("*")) == before, "nothing is left behind"
        return said.err.strip()

    return run


# ---- data --------------------


@pytest.mark.parametrize(
    ("split", "rows", "says"),
    [
        (
            "80-20",
            ["fine,1", "bad,0"],
            "2 rows are too few for an 80-20 split with every label on",
        ),
        ("80-20", ["a,1", "b,1", "c,1", "d,1", "e,1", "f,0"], "6 rows are too few for an 80-20 split with every label"),
        (
            "grouped",
            ["fine,1", "bad,0"],
            "2 rows are too few to keep a fifth for testing; give more",
        ),
    ],
)
def test_too_few_rows_to_split_are_told_before_a_run_is_made(refused, tmp_path, split, rows, says):
    path = tmp_path / "few.csv"
    path.write_text("\n".join(["sentence,label", *rows]))
    assert refused("fine-tune", "--data-file", path, "--split", split).startswith(f"few.csv: {says}")


def test_enough_rows_are_enough(tmp_path):
    path = tmp_path / "enough.csv"
    path.write_text("sentence,label\n" + "".join(f"tea number {n},{n % 2}\n" for n in range(10)))
    assert checks.prepare(data_file=str(path), split="80-20").split == "80-20"


def test_a_damaged_table_is_not_explained_by_half_a_sentence(refused, tmp_path):
    (tmp_path / "a.parquet").write_bytes(os.urandom(999))
    said = refused("evaluate", "--model-path", "mini", "--task", "sst2", "--data-file", tmp_path / "a.parquet")
    assert said == "a.parquet: not a parquet file, or a damaged one; write it again."


# ---- models --------------------


@pytest.fixture
def folder(llama):
    """A local model in two pieces."""
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(llama, max_shard_size="90KB")
    (llama / "model.safetensors").unlink()
    return llama


def test_a_local_model_that_is_whole_is_taken(folder):
    assert checks.model(str(folder)) == models.find(str(folder))


def test_damaged_or_missing_weights_are_told_before_torch_is_loaded(refused, folder):
    piece = sorted(folder.glob("model-*.safetensors"))[1]
    whole = piece.read_bytes()
    piece.write_bytes(os.urandom(2000))
    for command in (["fine-tune", "--model"], ["evaluate", "--task", "sst2", "--model-path"]):
        said = refused(*command, folder)
        assert said.startswith(f"{piece} is damaged (") and said.endswith("; copy or make it again.")
    piece.write_bytes(whole[:500])
    assert "is damaged" in refused("fine-tune", "--model", folder)
    piece.unlink()
    assert refused("fine-tune", "--model", folder) == f"{folder}: {piece.name} is missing; copy the whole folder again."
    (folder / "model.safetensors.index.json").write_text("{")
    assert "model.safetensors.index.json cannot be read" in refused("fine-tune", "--model", folder)


def test_a_model_without_a_tokenizer_is_told(refused, folder):
    (folder / "tokenizer.json").unlink()
    said = refused("fine-tune", "--model", folder)
    assert said == f"{folder}: holds no tokenizer (tokenizer.json); copy it there from where the model is from."


def test_a_damaged_adapter_is_told_before_torch_is_loaded(refused, runs_dir):
    run = runs.Run(fakes.write_run(runs_dir / "r"))
    (run.adapter / "adapter_model.safetensors").write_bytes(os.urandom(99))
    said = refused("evaluate", "--model-path", "r", "--task", "sst2")
    assert said.startswith(f"{run.adapter}/adapter_model.safetensors is damaged (")


def test_a_text_that_is_longer_than_the_model_reads_is_told_in_one_line(llama, tmp_path, capfd):
    short = tiny.llama(tmp_path / "short", max_position_embeddings=16)
    shutil.copy(llama / "tokenizer.json", short)
    assert main(["evaluate", "--model-path", str(short), "--task", "sst2"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("A ") and "16 tokens; shorten it." in err and len(err.splitlines()) == 1


# ---- runs --------------------


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("bad-data", 2),
        ("bad-config", 2),
        ("gated", 2),
        ("network", 2),
        ("disk-full", 2),
        ("out-of-memory", 1),
        ("other", 1),
    ],
)
def test_what_is_found_wrong_with_the_input_later_is_exit_2_too(runs_dir, capsys, reason, code):
    run = runs.Run(fakes.write_run(runs_dir / "r", state="queued"))
    for event in (events.Started(1), events.Failed(reason, "Rename a label.")):
        events.append(run.path / "events.jsonl", event)
    assert follow.to_the_end(run) == code
    assert "r failed: Rename a label." in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_without_data_and_without_a_network(refused, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "disk is full" in refused("fine-tune", "--task", "sst2")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("died", "it was interrupted; go on with `python -m llmft_core runs resume r`."),
        ("cancelled", "it was cancelled at step 20; go on with `python -m llmft_core runs resume r`."),
        ("running", "it is running 65 %; wait for its end, or stop it with `python -m llmft_core runs stop r`."),
        ("queued", "it is queued; wait for its end, or stop it with `python -m llmft_core runs stop r`."),
    ],
)
def test_a_run_without_a_result_says_what_to_do_next(refused, runs_dir, monkeypatch, state, says):
    fakes.write_run(runs_dir / "r", state="running" if state == "died" else state)
    monkeypatch.setattr(runs.Run, "is_held", lambda _: state == "running")
    assert refused("compare", "r") == f"r has no result: {says}"
    assert refused("weights", "r") == f"r has no weight changes: {says}"


def test_a_run_that_was_interrupted_is_called_so_where_it_cannot_be_stopped(refused, runs_dir):
    fakes.write_run(runs_dir / "r", state="running")
    assert refused("runs", "stop", "r") == "r is interrupted: there is nothing to stop."


# ---- the command itself --------------------


def test_a_port_that_cannot_be_is_told_with_those_that_can(refused):
    assert refused("app", "--port", 99999) == "--port 99999: give a port from 1 to 65535."


@pytest.mark.parametrize("command", ["compare", "bogus", "fine-tune --warp 9", "evaluate --task sst2", "bench"])
def test_a_wrong_command_says_where_help_is(refused, command):
    assert refused(*command.split()).endswith("--help` says what can be given.")


def test_evaluate_says_how_many_prompts_were_cut(monkeypatch, capsys):
    found = {"task": "sst2", "model": "mini", "split": "official", "n": 9, "metrics": {"accuracy": 0.5}, "seconds": 1}
    found["intervals"] = {"accuracy": [0.2, 0.8]}
    for truncated, says in ((3, True), (0, False)):
        monkeypatch.setattr(jobs, "call", lambda *_, n=truncated: found | {"truncated": n})
        assert main(["evaluate", "--model-path", "mini", "--task", "sst2"]) == 0
        assert ("3 prompts had their paragraph cut to fit." in capsys.readouterr().out) is says
