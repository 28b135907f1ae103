"""Tiny random models are trained by a real worker, or by its code here: a run, its files, a stop, bad input."""

import json

import pandas as pd
import pytest
import tiny
from patience import PATIENCE, until
from safetensors import safe_open

from llmft_core import config, jobs, runs
from llmft_core.worker import __main__ as envelope
from llmft_core.worker import recipe

SMALL = dict(
    train_examples=40, eval_examples=24, epochs=1, batch_size=8, probe_examples=8, learning_rate=1e-2, max_length=256
)


class Wish:
    """Asks to stop when the run has told of so many steps; never, if None."""

    def __init__(self, run, steps=None):
        self.run, self.steps = run, steps

    def __call__(self):
        return self.steps is not None and len(steps_of(self.run)) >= self.steps

    def is_over(self):
        pass


def steps_of(run):
    return [event.step for event in run.history() if event.kind == "step"]


def work_here(run, stop_after=None):
    """What the worker does once it has its turn, without the seconds in which a process imports torch."""
    envelope.work(run, Wish(run, stop_after))
    return run.state()


def work_there(run):
    jobs.start(run)
    return jobs.wait(run, 240)


@pytest.fixture(
    scope="module",
    params=[
        ("llama", "sst2", "lora", work_there),
        ("gemma2", "squad_v2", "lora", work_here),
        ("llama", "sst2", "full", work_here),
    ],
)
def finished(request, tmp_path_factory):
    """A finished run on the samples that ship, as (run, method)."""
    architecture, task, method, work = request.param
    folder = tmp_path_factory.mktemp("worker")
    getattr(tiny, architecture)(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMFT_RUNS_DIR", str(folder / "runs"))
        run = runs.create(config.make(model=str(folder / "model"), task=task, method=method, **SMALL))
        assert work(run).kind == "finished", f"{run.state()} {run.log_tail(30)}"
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
    assert environment["training_precision"] in ("bf16", "float32") and len(environment["base"]) == 16


def test_a_stopped_worker_keeps_its_last_adapter(tmp_path):
    tiny.llama(tmp_path / "model")
    settings = SMALL | dict(epochs=100, probe_examples=0)  # far more than a stop takes
    run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **settings))
    jobs.start(run)
    until(lambda: steps_of(run), "it takes a step", run.log_tail)
    assert jobs.stop(run, PATIENCE).kind == "cancelled", run.log_tail(20)
    assert (run.adapter / "adapter_model.safetensors").exists() and not (run.path / "metrics.json").exists()


def test_a_resumed_run_goes_on_and_finishes(tmp_path, monkeypatch):
    tiny.llama(tmp_path / "model")
    settings = SMALL | dict(epochs=2, probe_examples=0)
    run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **settings))
    assert work_here(run, stop_after=1).kind == "cancelled"
    before, at = steps_of(run), run.history()[-1].step
    monkeypatch.setenv("LLMFT_RESUME", "1")
    learnt, times = [], recipe.times
    monkeypatch.setattr(recipe, "times", lambda *about: learnt.append(about[-1]) or times(*about))
    assert work_here(run).kind == "finished"
    after = steps_of(run)[len(before) :]
    assert after[0] > at > 0 and after[-1] == 10, "it went on and did not begin anew"
    last = [event for event in run.history() if event.kind == "step"][-1]
    known = last.since * SMALL["batch_size"]
    assert 0 < known < last.examples and learnt == [last.examples - known], "its speed is that of what it learnt now"


def test_zero_shot_rows_are_reused_only_for_the_same_weights(tmp_path):
    seconds = []
    for _ in range(2):
        tiny.llama(tmp_path / "model")
        run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **SMALL))
        assert work_here(run).kind == "finished"
        seconds.append(run.metrics()["seconds"]["zero_shot"])
    assert seconds[0] == seconds[1], "the second run tells the time that the first one took"
    tiny.llama(tmp_path / "model", num_hidden_layers=1)
    run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **SMALL))
    assert work_here(run).kind == "finished"
    assert len(list((runs.root() / ".zero-shot").glob("*.parquet"))) == 2


def test_seed_decides_the_new_matrices(tmp_path):
    tiny.llama(tmp_path / "model")
    drawn = []
    for seed in (1, 1, 2):
        settings = SMALL | dict(probe_examples=0, learning_rate=1e-9, seed=seed)
        run = runs.create(config.make(model=str(tmp_path / "model"), task="sst2", **settings))
        assert work_here(run).kind == "finished"
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
    state = work_here(run)
    assert state.kind == "failed" and state.reason == reason and words in state.detail
    assert not (run.path / "metrics.json").exists()


def test_predictions_hold_no_text_of_the_dataset(finished):
    rows = finished[0].predictions()
    assert not {"sentence", "context", "question", "text", "golds", "answers"} & set(rows.columns)
    assert isinstance(rows, pd.DataFrame)
