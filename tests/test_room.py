"""A cache with room behind its keys holds what transformers' own holds, whatever comes and goes."""

import pytest
import torch
from transformers import DynamicCache

from llmft_core.engine.room import roomy_cache


def held(cache) -> list[torch.Tensor]:
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


@pytest.fixture
def both():
    """Transformers' cache and ours, told the same."""
    caches = DynamicCache(), roomy_cache()

    def told(new: int, rows: int = 3) -> None:
        for layer in (0, 1):
            keys, values = torch.randn(rows, 2, new, 4), torch.randn(rows, 2, new, 6)
            theirs, ours = (cache.update(keys, values, layer) for cache in caches)
            assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))

    return *caches, told


def test_tokens_come_one_after_another(both):
    theirs, ours, told = both
    for new in (9, 1, 1, 1, 5, 1):
        told(new)
        assert ours.get_seq_length() == theirs.get_seq_length()
    assert all(torch.equal(one, other) for one, other in zip(held(theirs), held(ours), strict=True))


def test_rows_that_are_over_leave(both):
    theirs, ours, told = both
    told(8)
    for cache in (theirs, ours):
        cache.batch_select_indices(torch.tensor([0, 2]))
    told(1, rows=2)
    for cache in (theirs, ours):
        cache.batch_select_indices(torch.tensor([1]))
    told(4, rows=1)
    assert all(torch.equal(one, other) for one, other in zip(held(theirs), held(ours), strict=True))


def test_one_more_token_copies_none_of_the_others(both):
    _, ours, told = both
    told(8)
    before = [tensor.data_ptr() for tensor in held(ours)]
    told(1)
    told(1)
    assert [tensor.data_ptr() for tensor in held(ours)] == before
    told(1)  # a quarter of eight is full
    assert [tensor.data_ptr() for tensor in held(ours)] != before
