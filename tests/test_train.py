"""Learning on prompt trees: every lesson once an epoch, loss falls, a stop keeps the weights, a resume goes on."""

import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import tiny
import torch
from transformers import TrainingArguments

from llmft_core.engine import load, reading, train
from llmft_core.engine.prompts import Prompter
from llmft_core.engine.tree import ONE_BY_ONE
from llmft_core.tasks.base import Prompt


@pytest.fixture
def school(tmp_path):
    """A tiny Llama with an adapter and 24 lessons on six paragraphs: the answer is in the question."""
    tiny.llama(tmp_path / "model")
    torch.manual_seed(0)
    lm = load.with_new_adapter(load.load(str(tmp_path / "model")), 8)
    prompter = Prompter(lm.tokenizer)
    words = ("fox", "hill", "good", "bad")
    prompts = [
        Prompt(f"Read text {p}.\nIt is short.\n", f"Question: say {word}.\nAnswer:") for p in range(6) for word in words
    ]
    encoded = prompter.encode_all(prompts, lm.context, 8)
    return lm, [train.Lesson(e, prompter.answer(words[i % 4])) for i, e in enumerate(encoded)]


def schooling(**changes):
    values = dict(epochs=4, batch_size=6, learning_rate=1e-2, patience=0, seed=1, probes=4, headline="f1") | changes
    return train.Schooling(**values)


def test_every_lesson_is_seen_once_an_epoch_and_paragraphs_stay_together(school):
    _, lessons = school
    steps = train.plan(lessons, batch_size=8, epochs=2, seed=1)
    order = [index for step in steps for index in step]
    assert sorted(order[:24]) == sorted(order[24:]) == list(range(24))
    assert order[:24] != order[24:]
    paragraphs = [index // 4 for index in order[:24]]
    assert sum(a != b for a, b in zip(paragraphs, paragraphs[1:], strict=False)) == 5


def test_half_an_epoch_is_half_the_steps(school):
    assert len(train.plan(school[1], batch_size=6, epochs=0.5, seed=1)) == 2


def test_loss_falls_and_progress_counts_examples(school, tmp_path):
    lm, lessons = school
    heard = []
    assert train.teach(lm, lessons, schooling(epochs=8), tmp_path / "checkpoints", heard.append)
    assert heard[-1].loss < heard[0].loss / 2
    assert heard[-1].examples == 8 * 24 and heard[-1].step == heard[-1].steps == 32


def test_mixed_precision_of_the_training_is_not_left_in_the_model(school, tmp_path, monkeypatch):
    lm, lessons = school
    monkeypatch.setattr(load, "has_bf16", lambda device: True)
    seen, plain = [], train.answer_loss
    monkeypatch.setattr(train, "answer_loss", lambda *a: seen.append(torch.is_autocast_enabled("cpu")) or plain(*a))
    train.teach(lm, lessons, schooling(epochs=1), tmp_path / "checkpoints", lambda progress: None)
    assert seen and all(seen)
    lm.model.save_pretrained(tmp_path / "adapter")
    again = load.load(lm.source, adapter=tmp_path / "adapter")
    ids = torch.tensor([lessons[0].prompt.ids])
    with torch.inference_mode():
        assert torch.equal(lm.model(ids).logits, again.model(ids).logits)
        assert torch.equal(lm.causal(ids).logits, again.causal(ids).logits)


def test_last_step_is_told_however_seldom_steps_are(school, tmp_path):
    lm, lessons = school
    heard = []
    train.teach(lm, lessons[:5], schooling(epochs=25, batch_size=1, probes=1), tmp_path / "checkpoints", heard.append)
    assert heard[0].step == 2 and heard[-1].step == heard[-1].steps == 125


def test_step_at_which_it_was_stopped_is_told_however_seldom_steps_are(school, tmp_path):
    lm, lessons = school
    heard, asked = [], iter((False, False, True))
    long = schooling(epochs=125, batch_size=6)  # told every eighth step
    assert not train.teach(lm, lessons, long, tmp_path / "checkpoints", heard.append, should_stop=lambda: next(asked))
    assert [progress.step for progress in heard] == [3]


def test_full_fine_tuning_moves_every_matrix(tmp_path, school):
    _, lessons = school
    lm = load.load(str(tmp_path / "model"), full=True)
    before = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    train.teach(lm, lessons, schooling(epochs=1), tmp_path / "checkpoints", lambda _: None)
    assert all(not torch.equal(p, before[name]) for name, p in lm.model.named_parameters() if p.dim() == 2)


def test_early_stopping_ends_with_the_best_weights(school, tmp_path):
    lm, lessons = school
    scores = iter([0.9, 0.2, 0.1, 0.0, 0.0, 0.0])
    kept, heard = {}, []

    def probe(step):
        if not kept:
            kept.update({name: p.detach().clone() for name, p in lm.model.named_parameters() if p.requires_grad})
        return {"f1": next(scores)}

    train.teach(lm, lessons, schooling(patience=2), tmp_path / "checkpoints", heard.append, probe)
    assert heard[-1].step < heard[-1].steps
    assert all(torch.equal(p, kept[name]) for name, p in lm.model.named_parameters() if name in kept)


def test_stop_then_resume_reaches_the_same_weights_as_an_unbroken_run(school, tmp_path):
    lm, lessons = school

    def fresh():
        torch.manual_seed(0)
        return load.with_new_adapter(load.load(lm.source), 8)

    whole, broken, resumed = fresh(), fresh(), fresh()
    train.teach(whole, lessons, schooling(), tmp_path / "whole", lambda _: None)
    heard = []
    ended = train.teach(
        broken, lessons, schooling(), tmp_path / "broken", heard.append, should_stop=lambda: len(heard) >= 5
    )
    assert not ended and heard[-1].step < 16
    heard.clear()
    assert train.teach(resumed, lessons, schooling(), tmp_path / "broken", heard.append, resume=True)
    assert heard[0].step > 4, "it went on from the checkpoint"
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_speed_after_a_resume_counts_only_what_was_learnt_since(school, tmp_path, monkeypatch):
    """On a clock that goes on by one second per example, every report must say one example per second."""
    lm, lessons = school
    clock, real = [0.0], train.answer_loss

    def learn(lm, layout, *rest):
        clock[0] += len(layout.ends)
        return real(lm, layout, *rest)

    monkeypatch.setattr(train, "answer_loss", learn)
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    heard, folder = [], tmp_path / "checkpoints"
    train.teach(lm, lessons, schooling(), folder, heard.append, should_stop=lambda: len(heard) >= 9)
    stopped = heard[-1].step
    assert heard[-1].fresh == heard[-1].examples == stopped * 6 and heard[-1].since == 0
    heard.clear()
    clock[0] += 1000  # the time between the sessions counts for neither
    train.teach(lm, lessons, schooling(), folder, heard.append, resume=True)
    assert heard[-1].examples == 4 * 24 and heard[-1].since == stopped
    assert heard[-1].fresh == 4 * 24 - stopped * 6
    assert {progress.examples_per_second for progress in heard} == {1.0}


@pytest.fixture
def step(school, tmp_path, monkeypatch):
    """A trainer in float32, and one optimizer step of 24 lessons that takes 24 passes."""
    monkeypatch.setattr(load, "has_bf16", lambda device: False)
    lm, lessons = school
    for name, parameter in lm.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)  # at zero the gradients of A would all be zero
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none")
    trainer = train.TreeTrainer(lm, None, args=arguments)
    return trainer, train.lay_out_lessons(lm, lessons, ONE_BY_ONE)


def test_step_of_many_passes_has_the_gradients_of_one_graph(step):
    trainer, layouts = step
    loss = trainer.training_step(trainer.model, {"layouts": layouts})
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.model.zero_grad()
    tokens = sum(len(layout.targets["token"]) for layout in layouts)
    whole = sum(train.answer_loss(trainer.lm, layout) for layout in layouts) / tokens
    whole.backward()
    assert len(layouts) == 24 and not loss.requires_grad
    torch.testing.assert_close(loss, whole.detach())
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().max() > 0
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-7)


def test_at_most_one_pass_keeps_its_graph(step, monkeypatch):
    """Counted by the tensors that autograd keeps for a backward pass: none is left when the next pass begins."""
    trainer, layouts = step
    kept, left, grown = weakref.WeakSet(), [], []

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            kept.add(self)

    real = train.answer_loss

    def one_pass(*arguments):
        left.append(len(kept))
        loss = real(*arguments)
        grown.append(len(kept))
        return loss

    monkeypatch.setattr(train, "answer_loss", one_pass)
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        trainer.training_step(trainer.model, {"layouts": layouts})
    assert min(grown) > 10, "the graph of a pass keeps tensors"
    assert left == [0] * 24


def test_processes_agree_once_a_step(step, monkeypatch):
    """Gradients go to the other processes in the last pass of a step only."""
    trainer, layouts = step
    quiet, told = [], []

    @contextmanager
    def no_sync(model):
        quiet.append(model)
        yield
        quiet.pop()

    real = trainer.accelerator.backward
    monkeypatch.setattr(trainer.accelerator, "no_sync", no_sync)
    monkeypatch.setattr(trainer.accelerator, "backward", lambda loss: (told.append(not quiet), real(loss)))
    trainer.training_step(trainer.model, {"layouts": layouts})
    assert told == [False] * 23 + [True]


def test_checkpoint_that_was_cut_off_is_not_resumed_from(tmp_path):
    for step, files in ((2, ["trainer_state.json"]), (10, ["trainer_state.json"]), (12, ["adapter_model.safetensors"])):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in files:
            (folder / name).touch()
    assert train.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert train.last_checkpoint(tmp_path / "nothing") is None


def test_head_runs_only_where_it_is_needed(school):
    lm, lessons = school
    (layout,) = train.lay_out_lessons(lm, lessons[:4])
    target = layout.targets
    with torch.no_grad(), reading.head_only_at(lm, target["row"], target["column"]):
        logits = lm.model(
            input_ids=layout.ids, position_ids=layout.positions, attention_mask=layout.visible()[:, None]
        ).logits
    assert logits.shape[0] == len(target["token"]) < layout.ids.numel()
