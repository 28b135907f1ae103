"""What all prompts begin with is read once, and every figure and word is what it is without that."""

import numpy as np
import pytest
import tiny

from llmft_core.engine import greedy, load, score
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


@pytest.mark.parametrize("length", [1, 3])
def test_who_says_what_was_scored_is_not_decoded_again(monkeypatch, length):
    """A leaf that is the greedy answer needs no step, and gives the ids that steps would."""
    lm = load.load("mini")
    written = score.write(lm, Prompter(lm.tokenizer), SHARED, length, stops=set())
    ending = [place for place, answer in enumerate(written) if answer.ids[-1] not in answer.ids[:-1]]
    assert ending, "no answer can be told by its last id"
    decoded, in_step = set(), greedy.in_step

    def heard(lm, branches, *rest):
        decoded.update(branches.keys.tolist())
        return in_step(lm, branches, *rest)

    monkeypatch.setattr(greedy, "in_step", heard)
    for place in ending:
        ids = written[place].ids
        again = score.write(lm, Always(lm.tokenizer, ids), SHARED, length, "said", stops={ids[-1]})
        assert again[place].ids == ids and place not in decoded
        decoded.clear()


class Always(Prompter):
    """For whom every answer is these ids."""

    def __init__(self, tokenizer, ids: tuple[int, ...]):
        super().__init__(tokenizer)
        self.ids = ids

    def answer(self, text: str) -> tuple[int, ...]:
        return self.ids
