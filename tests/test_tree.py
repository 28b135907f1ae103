"""Prompt trees are exact: same loss, gradients, tokens and probabilities as the same examples run alone."""

import math

import numpy as np
import pytest
import tiny
import torch

from llmft_core.engine import load, score, train, tree
from llmft_core.engine.prompts import Encoded, Prompter
from llmft_core.tasks.base import Prompt

SHORT = {"sliding_window": 12}
KINDS = {
    "llama": lambda folder: tiny.llama(folder),
    "gemma2": lambda folder: tiny.gemma2(folder),
    "gemma2-short-window": lambda folder: tiny.gemma2(folder, **SHORT),
    "mini": lambda folder: "mini",
    "gpt2": lambda folder: tiny.other("gpt2", folder),  # positions are learnt, matrices transposed
    "qwen2": lambda folder: tiny.other("qwen2", folder, use_sliding_window=True, max_window_layers=1, **SHORT),
    "qwen3": lambda folder: tiny.other("qwen3", folder),
    "mistral": lambda folder: tiny.other("mistral", folder, **SHORT),  # one window for all layers
    "cohere": lambda folder: tiny.other("cohere", folder),  # scales its logits
    "bloom": lambda folder: tiny.other("bloom", folder),  # bears no trees: positions are in its attention
    "lfm2": lambda folder: tiny.other("lfm2", folder),  # bears no trees: half of it is recurrent
}


@pytest.fixture(scope="module", params=KINDS)
def pupil(request, tmp_path_factory):
    """A model with a random adapter, its prompter, and twelve prompts on three paragraphs."""
    lm = load.load(str(KINDS[request.param](tmp_path_factory.mktemp("tree") / "model")))
    assert lm.bears_trees == (request.param not in ("bloom", "lfm2"))
    prompter = Prompter(lm.tokenizer)
    torch.manual_seed(0)
    lm = load.with_new_adapter(lm, 4)
    for name, parameter in lm.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    prompts = [
        Prompt(
            f"Read text {p}.\nThe fox number {p} {'ran over the hill and ' * (p + 1)}slept.\n",
            f"Question: who {'really ' * q}ran?\nAnswer:",
        )
        for p in range(3)
        for q in range(4)
    ]  # fmt: skip
    return lm, prompter, prompter.encode_all(prompts, lm.context, 16)


def alone(lm, ids):
    """Logits [T, V] of one sequence, computed plainly."""
    return lm.model(torch.tensor([list(ids)])).logits[0].float()


def test_loss_and_gradients_equal_those_of_the_examples_alone(pupil):
    lm, prompter, prompts = pupil
    lessons = [train.Lesson(prompt, prompter.answer(f"fox {index}")) for index, prompt in enumerate(prompts)]

    def gradients():
        found = {name: p.grad.clone() for name, p in lm.model.named_parameters() if p.grad is not None}
        lm.model.zero_grad()
        return found

    layouts = train.lay_out_lessons(lm, lessons)
    assert sum(len(layout.ids) for layout in layouts) == (3 if lm.bears_trees else 12)
    packed = sum(train.answer_loss(lm, layout) for layout in layouts)
    packed.backward()
    packed_gradients = gradients()
    separate = 0.0
    for lesson in lessons:
        ids, start = lesson.prompt.ids + lesson.answer, len(lesson.prompt.ids)
        loss = torch.nn.functional.cross_entropy(
            alone(lm, ids)[start - 1 : -1], torch.tensor(ids[start:]), reduction="sum"
        )
        loss.backward()
        separate += float(loss.detach())
    assert float(packed.detach()) == pytest.approx(separate, rel=1e-5)
    for name, gradient in gradients().items():
        # float32: on mini the last keys have a gradient that is a small difference of large numbers, 1.6e-4 apart
        gap = (gradient - packed_gradients[name]).norm() / gradient.norm().clamp_min(1e-12)
        assert gap < 5e-4, f"{name}: relative gradient difference {gap:.1e}"


def test_greedy_answers_equal_generate_one_by_one(pupil):
    lm, prompter, prompts = pupil
    stops = score.stop_ids(lm, prompter)
    packed = score.write(lm, prompter, prompts, 10, stops=stops)
    for prompt, written in zip(prompts, packed, strict=True):
        ids = torch.tensor([prompt.ids])
        out = lm.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False,
            eos_token_id=sorted(stops), pad_token_id=lm.tokenizer.pad_token_id,
        )  # fmt: skip
        assert list(written.ids) == out[0, ids.shape[1] :].tolist()


def test_branches_that_stop_early_do_not_disturb_the_others(pupil):
    lm, prompter, prompts = pupil
    never = score.write(lm, prompter, prompts, 8, stops=set())
    early = {written.ids[1] for written in never[::3]}
    for free, stopped in zip(never, score.write(lm, prompter, prompts, 8, stops=early), strict=True):
        end = next((at + 1 for at, token in enumerate(free.ids) if token in early), len(free.ids))
        assert stopped.ids == free.ids[:end]


def test_abstention_probability_equals_that_of_the_whole_string_alone(pupil):
    lm, prompter, prompts = pupil
    tail = prompter.answer("unanswerable")
    for prompt, written in zip(prompts, score.write(lm, prompter, prompts, 2, "unanswerable"), strict=True):
        log_probs = alone(lm, prompt.ids + tail).log_softmax(-1)
        start = len(prompt.ids)
        expected = sum(float(log_probs[start + at - 1, token]) for at, token in enumerate(tail))
        assert np.log(written.p_no_answer) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("names", [("good", "bad"), ("very good indeed", "rather bad")])
def test_label_scores_do_not_depend_on_what_shares_the_row(pupil, names):
    lm, prompter, prompts = pupil
    labels = prompter.labels(names)
    packed = score.label_scores(lm, prompts, labels)
    one_by_one = np.concatenate([score.label_scores(lm, [prompt], labels) for prompt in prompts])
    np.testing.assert_allclose(packed, one_by_one, atol=1e-4)
    for prompt, row in zip(prompts, packed, strict=True):
        plain = []
        for label in labels:
            log_probs = alone(lm, prompt.ids + label).log_softmax(-1)
            plain.append(sum(float(log_probs[len(prompt.ids) + at - 1, token]) for at, token in enumerate(label)))
        np.testing.assert_allclose(row, plain - np.logaddexp.reduce(plain), atol=1e-3)


def test_zero_shot_side_is_the_base_bit_for_bit(pupil):
    lm, _, prompts = pupil
    plain = load.load(lm.source)
    with lm.zero_shot(), torch.inference_mode():
        base = alone(lm, prompts[0].ids)
    with torch.inference_mode():
        assert torch.equal(base, alone(plain, prompts[0].ids))
        assert not torch.equal(base, alone(lm, prompts[0].ids))


def test_no_token_sees_another_branch_or_padding():
    prompt = tree.Tree((1, 2), (tree.Branch(0, (3, 4), ((5, 6),)), tree.Branch(1, (7,), ())))
    layout = tree.lay_out([prompt, tree.Tree((1,), (tree.Branch(2, (3,)),))], pad=0)
    visible = layout.visible()
    assert layout.ids[0].tolist() == [1, 2, 3, 4, 5, 7]
    assert layout.positions[0].tolist() == [0, 1, 2, 3, 4, 2]
    assert visible[0, 5].tolist() == [True, True, False, False, False, True]
    assert visible[0, 4].tolist() == [True, True, True, True, True, False]
    assert not visible[1, :2, 2:].any()
    assert {
        tuple(t[:3]) for t in zip(*(layout.targets[k].tolist() for k in ("row", "column", "token")), strict=True)
    } == {
        (0, 3, 5),
        (0, 4, 6),
    }


def test_trees_keep_every_prompt_once_and_are_narrow_and_even():
    prompts = [Encoded((1, 2, 3), tuple(range(10, 10 + n % 30 + 1))) for n in range(200)]
    trees = tree.grow(prompts, [()] * len(prompts), widest=100)
    assert sorted(branch.key for t in trees for branch in t.branches) == list(range(200))
    lengths = [t.length for t in trees]
    assert max(lengths) <= 105 and max(lengths) - min(lengths) <= 2, "hardly anything is padded"
    for batch in tree.batches(trees, 500):
        assert len(batch) * max(t.length for t in batch) <= 500


@pytest.mark.parametrize("prefix", [0, 10, 50, 190, 2000])
def test_rows_are_as_wide_as_their_prefix_is_worth(prefix):
    """No other width costs less per token of a branch: a share of the prefix, and attention over the row."""

    def cost(width: int) -> float:
        return tree.EVEN * prefix / width + width

    best = tree.breadth(prefix)
    assert cost(best) <= min(map(cost, range(tree.NARROWEST, tree.WIDEST + 1))) * 1.001
    prompts = [Encoded(tuple(range(prefix)), (n, n + 1)) for n in range(500)]
    rows = tree.grow(prompts, [()] * len(prompts))
    assert len(rows) == math.ceil(2 * 500 / best)
    lengths = {row.length for row in rows}
    assert max(lengths) <= prefix + best + 1 and max(lengths) - min(lengths) <= 2


def test_a_branch_too_long_for_any_row_has_one_and_none_is_empty():
    branches = [tree.Branch(0, (7,) * 1000), *(tree.Branch(key, ()) for key in range(1, 20))]
    rows = tree.in_rows(branches, 100)
    assert sorted(branch.key for row in rows for branch in row) == list(range(20)) and all(rows)
    assert [branch.key for branch in rows[0]] == [0]
    assert len(tree.in_rows(branches, 0)) == 2, "a row for each that has tokens of its own"
