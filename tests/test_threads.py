"""Threads make room for other processes, come back when they are gone, and never change a proof."""

import os

import pytest
import torch

from llmft_core.engine import threads


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
