"""Threads make room for other processes, come back when they are gone, and never change a proof."""

import os
from dataclasses import replace

import pytest
import tiny
import torch

from llmft_core.engine import load, score, threads, train, weights
from llmft_core.engine.prompts import Encoded, Prompter


class Machine:
    """A machine of two cores whose clock and load a test sets."""

    def __init__(self):
        self.now = self.busy = self.mine = 0.0

    def pass_time(self, seconds: float, others: float, mine: float = 1.0) -> None:
        """So many cores are busy with others and with this process."""
        self.now += seconds
        self.busy += (others + mine) * seconds
        self.mine += mine * seconds


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    monkeypatch.setattr(threads, "_clock", lambda: (made.now, made.busy, made.mine))
    monkeypatch.setattr(threads.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(threads, "_crowd", None)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    threads.fit()
    yield made
    torch.set_num_threads(before)


def after(machine: Machine, seconds: float, others: float, mine: float = 1.0) -> int:
    machine.pass_time(seconds, others, mine)
    threads.fit()
    return torch.get_num_threads()


def test_a_core_that_others_want_is_left_to_them(machine):
    assert after(machine, 1, others=0.1, mine=1.9) == 2
    assert after(machine, 1, others=1.0) == 1
    assert after(machine, 1, others=2.0) == 1
    assert after(machine, 1, others=0.1) == 2


def test_it_looks_only_now_and_then(machine):
    assert after(machine, threads.EVERY / 2, others=1.0) == 2
    assert after(machine, threads.EVERY / 2, others=1.0) == 1


def test_what_began_with_one_thread_keeps_it(machine, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "_crowd", None)
    threads.fit()
    assert after(machine, 1, others=0.0) == 1


@pytest.mark.parametrize("cores, others, found", [(16, 3.9, 12), (16, 20.0, 1), (1, 0.0, 1)])
def test_on_other_machines(machine, monkeypatch, cores, others, found):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    crowd = threads.Crowd()
    crowd.most = cores
    machine.pass_time(1, others)
    assert crowd.room() == found


def test_a_proof_is_computed_by_one_thread_and_the_others_come_back(machine):
    with pytest.raises(KeyboardInterrupt), threads.one():
        assert torch.get_num_threads() == 1
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2


def test_the_clock_is_that_of_the_machine():
    first = threads._clock()
    while threads._clock()[2] - first[2] < 0.05:
        sum(range(10_000))
    passed, busy, mine = (b - a for a, b in zip(first, threads._clock(), strict=True))
    assert passed > 0 and mine >= 0.05 and busy >= 0


@pytest.mark.parametrize("work", ["learn", "score labels", "score leaves", "write", "row by row", "measure weights"])
def test_every_long_work_looks_for_others(monkeypatch, tmp_path, work):
    """Threads that wait awake on a core that others want take ten times as long, so nothing may forget to look."""
    lm, looks = load.load(str(tiny.llama(tmp_path / "model")), full=True), []
    prompter, prompts = Prompter(lm.tokenizer), [Encoded((5, 6, 7, 8), (9, n)) for n in (10, 11)]
    monkeypatch.setattr(threads, "fit", lambda: looks.append(work))
    if work == "learn":
        schooling = train.Schooling(8, batch_size=1, learning_rate=1e-3, patience=0, seed=1)
        train.teach(lm, [train.Lesson(p, (20, 2)) for p in prompts], schooling, tmp_path / "run", lambda said: None)
    elif work == "score labels":
        score.label_scores(lm, prompts, [(20,), (21,)])
    elif work == "score leaves":
        score.leaf_scores(lm, prompts, [((20, 21),)] * 2)
    elif work == "measure weights":
        weights.full_changes(tmp_path / "model", tmp_path / "model")
    else:
        way = lm if work == "write" else replace(lm, bears_trees=False)
        score.write(way, prompter, prompts, 3, stops=set())
    assert len(looks) >= {"learn": 16, "write": 3, "row by row": 3}.get(work, 1)
