"""Both sides of an adapter in one pass: each row is what its side says alone, and whoever cannot goes on in turn."""

import pytest
import tiny
import torch
from weight_folders import with_adapter

from llmft_core.bench import both_sides, both_sides_turns
from llmft_core.engine import chat

IDS = list(range(5, 40))


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("side-by-side")
    make = getattr(tiny, request.param, None)
    model = make(folder / "model") if make else tiny.other(request.param, folder / "model")
    targets = ["c_attn", "wte"] if request.param == "gpt2" else ["q_proj", "down_proj", "embed_tokens"]
    extra = {"fan_in_fan_out": True} if request.param == "gpt2" else {}
    with_adapter(model, folder / "adapter", target_modules=targets, **extra)
    return chat.open_pair(str(model), adapter=folder / "adapter")


def said(pair, prompts, stops=frozenset(), length=24):
    written = {side: [] for side in prompts}
    for side, tokens in chat.stream(pair, prompts, length, stops):
        written[side] = list(tokens)
    return written


def test_each_row_says_what_its_side_says_alone(pair):
    assert pair.together is not None
    assert pair.voices(dict.fromkeys(chat.SIDES, IDS)) == [chat.SIDES]
    both = said(pair, dict.fromkeys(chat.SIDES, IDS))
    alone = {side: said(pair, {side: IDS})[side] for side in chat.SIDES}
    assert both == alone and both["zero_shot"] != both["fine_tuned"]
    assert len(both["zero_shot"]) == 24


def test_a_side_that_stops_leaves_the_other_as_it_was(pair):
    whole = said(pair, dict.fromkeys(chat.SIDES, IDS))
    stop = next(token for token in whole["fine_tuned"] if token not in whole["zero_shot"])
    short = said(pair, dict.fromkeys(chat.SIDES, IDS), {stop})
    assert short["zero_shot"] == whole["zero_shot"]
    assert short["fine_tuned"] == whole["fine_tuned"][: whole["fine_tuned"].index(stop)]


def test_prompts_of_unlike_length_are_answered_in_turn(pair):
    prompts = {"zero_shot": IDS, "fine_tuned": IDS[:20]}
    assert pair.voices(prompts) == [("zero_shot",), ("fine_tuned",)]
    assert said(pair, prompts) == {side: said(pair, {side: ids})[side] for side, ids in prompts.items()}


def test_the_adapter_is_whole_again_afterwards(pair):
    before = chat._probe(pair.tuned)
    with pytest.raises(KeyError), pair.together.reading():
        raise KeyError
    assert torch.equal(before, chat._probe(pair.tuned))


def test_adapter_with_whole_tensors_beside_its_factors_is_heard_in_turn(tmp_path):
    model = tiny.llama(tmp_path / "model")
    tuned = with_adapter(model, tmp_path / "fresh", modules_to_save=["norm"])
    with torch.no_grad():
        tuned.get_submodule("base_model.model.model.norm.modules_to_save.default").weight.mul_(
            torch.linspace(0.1, 3, 32)
        )
    tuned.save_pretrained(tmp_path / "adapter")
    pair = chat.open_pair(str(model), adapter=tmp_path / "adapter")
    assert pair.together is None and pair.proof == {"base_equal": True, "tuned_differs": True}
    assert len(said(pair, dict.fromkeys(chat.SIDES, IDS))["fine_tuned"]) == 24


def test_bench_answers_equal_those_of_generate(tmp_path):
    model = tiny.llama(tmp_path / "model")
    request = {"model": str(model), "adapter": str(tiny.adapter(model, tmp_path / "adapter")), "n": 2, "tokens": 9}
    (_, _, ours, about), (_, _, theirs, _) = both_sides_turns.ours(request), both_sides_turns.theirs(request)
    assert about["in_one_pass"] and about["over_one_side"] > 0
    assert [len(answer) for answer in theirs] == [9] * 4
    assert both_sides.agreement(ours, theirs) == 1.0


def test_one_unlike_answer_of_four_is_a_quarter():
    assert both_sides.agreement([[1], [2], [3], [4]], [[1], [2], [3], [5]]) == 0.75
