"""A real worker process trains tiny random models on the CPU: a whole run, its files, a stop, a resume, bad input."""

import json

import pandas as pd
import pytest
import tiny
from patience import PATIENCE, until
from safetensors import safe_open

from llmft_core import config, jobs, runs

SMALL = dict(
    train_examples=40, eval_examples=24, epochs=1, batch_size=8, probe_examples=8, learning_rate=1e-2, max_length=256
)


@pytest.fixture(
    scope="module", params=[("llama", "sst2", "lora"), ("gemma2", "squad_v2", "lora"), ("llama", "sst2", "full")]
)
def finished(request, tmp_path_factory):
    """A finished run on the samples that ship, as (run, method)."""
    architecture, task, method = request.param
    folder = tmp_path_factory.mktemp("worker")
    getattr(tiny, architecture)(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMFT_RUNS_DIR", str(folder / "runs"))
        run = runs.create(config.make(model=str(folder / "model"), task=task, method=method, **SMALL))
        jobs.start(run)
        state = jobs.wait(run, 240)
    assert state.kind == "finished", run.log_tail(30)
    return run, method


def test_run_says_every_stage_in_order(finished):
    run, _ = finished
    kinds = [event.name for event in run.history() if event.kind == "stage"]
    assert list(dict.fromkeys(kinds)) == ["loading", "zero-shot", "training", "fine-tuned", "weights"]
    finals = [event.side for event in run.history() if event.kind == "evaluated" and event.final]
    assert finals == ["zero_shot", "fine_tuned"]
    probes = [event.step for event in run.history() if event.kind == "evaluated" and not event.final]
    assert probes[0] == 0 and len(probes) > 2, "the curve starts at zero-shot"
    steps = [event for event in run.history() if event.kind == "step"]
    assert steps[-1].step == steps[-1].steps and steps[-1].loss < steps[0].loss


def test_both_sides_answer_the_same_examples(finished):
    rows = finished[0].predictions()
    before, after = (rows[rows["side"] == side] for side in ("zero_shot", "fine_tuned"))
    assert list(before["id"]) == list(after["id"]) and len(before) == 24
    assert list(before["tokens"]) == list(after["tokens"])


def test_metrics_can_be_computed_again_from_the_stored_rows(finished):
    from llmft_core import tasks

    run, _ = finished
    metrics, task = run.metrics(), tasks.find(run.config.task)
    for side in ("zero_shot", "fine_tuned"):
        again = task.summarise(run.predictions().query("side == @side"))
        assert metrics[side] == {name: pytest.approx(value) for name, value in again.items()}
    assert metrics["n"] == 24 and metrics["source"] == "samples"
    assert sum(metrics["flips"][box] for box in ("fixed", "broken", "both_right", "both_wrong")) == 24
    lora = {"base_equal": True} if finished[1] == "lora" else {}
    assert metrics["side_proof"] == {"tuned_differs": True} | lora, "a full run has no base in memory to compare with"


def test_weights_say_what_moved(finished):
    run, method = finished
    changes = run.weights()
    assert (changes["relative_change"] > 0).any()
    assert set(changes["kind"]) == {method}
    saved = run.adapter / "adapter_model.safetensors" if method == "lora" else run.model_dir / "model.safetensors"
    with safe_open(saved, "pt") as file:
        assert list(file.keys())


def test_environment_tells_versions_and_data(finished):
    environment = json.loads((finished[0].path / "environment.json").read_text())
    assert environment["packages"]["torch"].startswith("2.")
    assert len(environment["data"]["test"]) == 64


def test_stopped_run_keeps_its_last_adapter_and_resumes(tmp_path):
    tiny.llama(tmp_path / "model")
    settings = SMALL | dict(epochs=60, probe_examples=0)
    run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **settings))
    jobs.start(run)
    until(lambda: any(event.kind == "step" for event in run.history()), "it takes a step", run.log_tail)
    assert jobs.stop(run, PATIENCE).kind == "cancelled", run.log_tail(20)
    assert (run.adapter / "adapter_model.safetensors").exists()
    at = max(event.step for event in run.history() if event.kind in ("step", "cancelled"))
    jobs.resume(run)
    assert jobs.wait(run, 240).kind == "finished", run.log_tail(20)
    begun = [index for index, event in enumerate(run.history()) if event.kind == "started"][-1]
    first = next(event.step for event in run.history()[begun:] if event.kind == "step")
    assert first > at / 2, "it went on and did not begin anew"


def test_zero_shot_rows_are_reused_only_for_the_same_weights(tmp_path):
    seconds = []
    for _ in range(2):
        tiny.llama(tmp_path / "model")
        run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **SMALL))
        jobs.start(run)
        assert jobs.wait(run, 240).kind == "finished", run.log_tail(20)
        seconds.append(run.metrics()["seconds"]["zero_shot"])
    assert seconds[0] == seconds[1], "the second run tells the time that the first one took"
    tiny.llama(tmp_path / "model", num_hidden_layers=1)
    run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **SMALL))
    jobs.start(run)
    assert jobs.wait(run, 240).kind == "finished", run.log_tail(20)
    assert len(list((runs.root() / ".zero-shot").glob("*.parquet"))) == 2


def test_seed_decides_the_new_matrices(tmp_path):
    tiny.llama(tmp_path / "model")
    drawn = []
    for seed in (1, 1, 2):
        settings = SMALL | dict(probe_examples=0, learning_rate=1e-9, seed=seed)
        run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **settings))
        jobs.start(run)
        assert jobs.wait(run, 240).kind == "finished", run.log_tail(20)
        with safe_open(run.adapter / "adapter_model.safetensors", "pt") as file:
            drawn.append(file.get_tensor(next(name for name in sorted(file.keys()) if "lora_A.weight" in name)))
    assert drawn[0].allclose(drawn[1], atol=1e-6)
    assert not drawn[0].allclose(drawn[2], atol=1e-3)


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [("idx,sentence,label\n0,good,maybe\n", "bad-data", "column label"), ("", "bad-data", "empty")],
)
def test_bad_data_fails_the_run_with_a_sentence(tmp_path, content, reason, words):
    tiny.llama(tmp_path / "model")
    file = tmp_path / "rows.csv"
    file.write_text(content)
    run = runs.create(
        config.make(model=str(tmp_path / "model"), task="sst2", data_file=str(file), split="80-20", **SMALL)
    )
    jobs.start(run)
    state = jobs.wait(run, 120)
    assert state.kind == "failed" and state.reason == reason and words in state.detail
    assert not (run.path / "metrics.json").exists()


def test_predictions_hold_no_text_of_the_dataset(finished):
    rows = finished[0].predictions()
    assert not {"sentence", "context", "question", "text", "golds", "answers"} & set(rows.columns)
    assert isinstance(rows, pd.DataFrame)
