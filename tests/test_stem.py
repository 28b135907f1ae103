"""What all prompts begin with is read once, and every figure and word is what it is without that."""

import numpy as np
import pytest
import tiny

from llmft_core.engine import load, score
from llmft_core.engine.prompts import Encoded, Prompter
from llmft_core.engine.tree import PACKED, Packing

APART = Packing(has_stem=False)
STEM = tuple(range(40, 52))


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def lm(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stem") / "model"
    found = load.load(str(tiny.llama(folder) if request.param == "llama" else tiny.gemma2(folder)))
    assert found.bears_trees
    return found


def prompts(*ends: tuple[tuple[int, ...], tuple[int, ...]]) -> list[Encoded]:
    return [Encoded(STEM + prefix, question) for prefix, question in ends]


SHARED = prompts(((), (7,)), ((), (8, 9, 10)), ((), (11, 12)), ((), (30,)))
UNLIKE = prompts(((), (7,)), ((60, 61), (8, 9)), ((60, 61), (10,)), ((62,), (11, 12, 13)))
BARE = prompts(((), (7,)), ((), ()), ((63,), ()))


@pytest.mark.parametrize("given", [SHARED, UNLIKE, BARE, SHARED[:1]], ids=["shared", "unlike", "no question", "one"])
def test_scores_are_those_of_prompts_that_share_nothing(lm, given):
    labels = [(20,), (21,)]
    with_stem, alone = (score.label_scores(lm, given, labels, packing=packing) for packing in (PACKED, APART))
    np.testing.assert_allclose(with_stem, alone, atol=2e-5)
    longer = [((20, 21), (22, 23))] * len(given)
    with_stem, alone = (score.leaf_scores(lm, given, longer, packing=packing) for packing in (PACKED, APART))
    np.testing.assert_allclose(with_stem, alone, atol=5e-5)


@pytest.mark.parametrize("most", [1, 2, 6])
@pytest.mark.parametrize("given", [SHARED, UNLIKE, BARE], ids=["shared", "unlike", "no question"])
def test_answers_are_those_of_prompts_that_share_nothing(lm, given, most):
    prompter = Prompter(lm.tokenizer)
    found, alone = (
        score.write(lm, prompter, given, most, "never", stops={2}, packing=packing) for packing in (PACKED, APART)
    )
    assert [answer.ids for answer in found] == [answer.ids for answer in alone]
    np.testing.assert_allclose([a.p_no_answer for a in found], [a.p_no_answer for a in alone], atol=1e-5)


def test_what_is_foretold_is_what_would_be_written(lm):
    """A leaf that is the greedy answer needs no step, and gives the same ids."""
    prompter = Prompter(lm.tokenizer)
    written = score.write(lm, prompter, SHARED, 3, stops=set())
    for place, answer in enumerate(written):
        stops = {answer.ids[-1]}
        if answer.ids[-1] in answer.ids[:-1]:
            continue
        leaf = replace_answer(prompter, answer.ids)
        again = score.write(lm, leaf, SHARED, 3, "said", stops=stops)
        assert again[place].ids == answer.ids


def replace_answer(prompter: Prompter, ids: tuple[int, ...]):
    """The same prompter, for which every answer is these ids."""

    class Fixed:
        answer = staticmethod(lambda text: ids)
        write = staticmethod(prompter.write)

    return Fixed()
