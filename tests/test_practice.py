"""Exercises are made from the text alone, and packed rows compute what each exercise alone would."""

import random
from types import SimpleNamespace

import pytest
import tiny
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from llmft_core import models
from llmft_core.engine.pretraining import exam, practice, rows, teacher

ARTICLE = "\n".join(
    f"The {place} bridge was built in {1800 + number} by Anna {name} and her two brothers from the valley of Orm. "
    f"It carries about {number + 20} carts of barley every day across the river {name} in the wet season. "
    f"The old ferry of {place} was sold to a merchant who kept it as a floating shop for many years."
    for number, (place, name) in enumerate(
        [("Halden", "Voss"), ("Merrow", "Tarn"), ("Quill", "Brandt"), ("Sedge", "Loew"), ("Umber", "Rask")]
    )
)


@pytest.fixture
def dice():
    return random.Random(7)


def test_answers_stand_in_the_passage_and_refusals_do_not(dice):
    level = practice.Level(quoted=0.3, unanswerable=0.33)
    found = [exercise for _ in range(20) for exercise in practice.exercises(ARTICLE, dice, level)]
    answers = [(passage, answer) for passage, questions in found for _, answer in questions]
    assert len(answers) > 100
    assert all(answer in passage for passage, answer in answers if answer)
    refused = sum(answer is None for _, answer in answers) / len(answers)
    assert 0.1 < refused < 0.5


def test_practice_gets_harder():
    begin, middle, end = (practice.level(tokens) for tokens in (0, 4_000_000, 50_000_000))
    assert begin == practice.Level(quoted=1.0, unanswerable=0.0)
    assert begin.quoted > middle.quoted > end.quoted > 0 and begin.unanswerable < middle.unanswerable < end.unanswerable
    assert middle.twisted == 0 < end.twisted < 1 and begin.left_out < end.left_out
    assert end == practice.level(500_000_000)


def test_a_quote_is_said_word_by_word(dice):
    sentence = "The Halden bridge was built in 1814 by Anna Voss and her brothers."
    span = next(span for span in practice.spans(sentence) if span[2] == "number")
    for _ in range(20):
        question = practice.ask(sentence, span, dice, quoted=1.0)
        assert "ridge was built " in question
        assert question.endswith(("year?", "when?")) or "by Anna Voss" in question


def test_who_asks_where_or_when_says_no_preposition_before_it(dice):
    sentence = "The old ferry of Merrow was sold to a merchant in Halden for many years."
    span = next(span for span in practice.spans(sentence) if sentence[span[0] : span[1]] == "Halden")
    asked = [practice.ask(sentence, span, dice, quoted=1.0) for _ in range(40)]
    assert any(" where" in question for question in asked) and not any("in where" in question for question in asked)
    assert any("in which" in question for question in asked)


def test_a_twisted_question_names_what_its_sentence_does_not(dice):
    sentence = "The Halden bridge was built in 1814 by Anna Voss and her brothers."
    others = ["It carries about 24 carts to Merrow.", "The old ferry was sold in 1733 to Jon Tarn."]
    for span in practice.spans(sentence):
        answer = sentence[span[0] : span[1]]
        twisted, (start, end, kind), put_in = practice.twist(sentence, span, others, dice)
        assert twisted[start:end] == answer and kind == span[2]
        assert put_in in twisted and put_in not in sentence and any(put_in in other for other in others)
    assert practice.twist(sentence, practice.spans(sentence)[0], ["Nothing here is named."], dice) is None


def test_what_is_put_in_is_no_other_name_for_what_it_takes_the_place_of(dice):
    sentence = "The bridge was built in 1814 by patient masons of Halden."
    span = next(span for span in practice.spans(sentence) if span[2] == "number")
    assert practice.twist(sentence, span, ["It stands near Halden Mill."], dice) is None
    assert practice.twist(sentence, span, ["It stands near Merrow Mill."], dice)[2] == "Merrow Mill"


def test_a_twisted_question_is_asked_with_its_twist_and_has_no_answer(dice, monkeypatch):
    level, put_in, twist = practice.Level(quoted=0.0, unanswerable=1.0, twisted=1.0), set(), practice.twist

    def watched(*arguments):
        if found := twist(*arguments):
            put_in.add(found[2])
        return found

    monkeypatch.setattr(practice, "twist", watched)
    monkeypatch.setattr(practice, "_foreign", lambda *_: None)
    alone = ARTICLE.splitlines()[0]  # a text of one passage has no other passage to ask about
    passages = [exercise for _ in range(40) for exercise in practice.exercises(alone, dice, level)]
    asked = [question for _, questions in passages for question in questions]
    assert len(asked) > 50 and {answer for _, answer in asked} == {None}
    assert all(any(wrong in question for wrong in put_in) for question, _ in asked)


def test_shares_of_a_level_are_those_of_what_is_asked(dice, monkeypatch):
    twisted, twist = [], practice._twisted
    monkeypatch.setattr(practice, "_twisted", lambda *given: twisted.append(twist(*given)) or twisted[-1])
    level = practice.Level(quoted=0.3, unanswerable=0.4, twisted=0.5)
    passages = [exercise for _ in range(60) for exercise in practice.exercises(ARTICLE, dice, level)]
    answers = [answer for _, questions in passages for _, answer in questions]
    refused = answers.count(None)
    assert refused / len(answers) == pytest.approx(0.4, abs=0.07)
    assert sum(map(bool, twisted)) / refused == pytest.approx(0.5, abs=0.12)


def test_months_are_asked_for_with_when(dice):
    sentence = "The old ferry of Merrow was sold in January to a merchant."
    span = next(span for span in practice.spans(sentence) if sentence[span[0] : span[1]] == "January")
    assert all(" when" in practice.ask(sentence, span, dice, quoted=1.0) for _ in range(20))


def test_more_words_are_left_out_later(dice):
    sentence = "The narrow stone bridge near Halden was slowly built by patient masons of the valley."
    span = next(span for span in practice.spans(sentence) if sentence[span[0] : span[1]] == "Halden")

    def words(left_out):
        return sum(len(practice.ask(sentence, span, dice, 0.0, left_out).split()) for _ in range(300))

    assert words(left_out=3.0) < 0.9 * words(left_out=1.0)


@pytest.mark.parametrize("quoted", [0.0, 1.0])
def test_question_does_not_give_its_answer_away(dice, quoted):
    sentence = "It carries about 24 carts of barley every day across the river Tarn in the wet season."
    for span in practice.spans(sentence):
        question = practice.ask(sentence, span, dice, quoted)
        assert question.endswith("?") and sentence[span[0] : span[1]] not in question


def test_rating_is_cut_out_of_what_is_rated(dice):
    review = "I saw this film with my aunt last week. The plot is thin as paper. A dull walk in rain. I give it 3/10."
    found = practice.rated_pieces(review, dice)
    assert found and {rating for _, rating in found} == {"3"}
    assert all("3" not in some for some, _ in found)
    shouted = "A dull walk in rain and mud. Nobody laughed in the whole hall. I give it 8 OUT OF 10 for sure."
    assert all("8" not in some for some, _ in practice.rated_pieces(shouted, dice))
    assert practice.rated_pieces("A film of 10/1 odds and 24/7 noise, nothing else to say here.", dice) == []


def test_cut_into_tokens_spells_like_old_corpora():
    assert practice.cut_into_tokens("It's good, isn't it? (They're.)") == "it 's good , is n't it ? ( they 're . )"


def test_reviews_and_articles_are_told_apart():
    assert practice.is_review("I think you will like this film. I did.")
    assert not practice.is_review(ARTICLE)


def pieces():
    first = rows.exercise([1, 10, 11, 12], [([20, 21], [30, 2]), ([22, 23, 24], [31, 2])])
    return [first, rows.plain([1, 40, 41, 2])]


def test_packed_row_gives_each_branch_the_logits_it_has_alone():
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2,
        )
    ).eval()  # fmt: skip
    solid, text = pieces()
    (row,) = rows.pack(iter([solid]), iter([text]), block=len(solid.ids) + 4, rows=1, exercises=1.0)
    batch = rows.collate([row])
    with torch.inference_mode():
        packed = model(**{k: v for k, v in batch.items() if k not in ("labels", "weights")}).logits[0]
        for alone, columns in (
            ([1, 10, 11, 12, 20, 21, 30, 2], [0, 1, 2, 3, 4, 5, 6, 7]),
            ([1, 10, 11, 12, 22, 23, 24, 31, 2], [0, 1, 2, 3, 8, 9, 10, 11, 12]),
            ([1, 40, 41, 2], [13, 14, 15, 16]),
        ):
            torch.testing.assert_close(packed[columns], model(torch.tensor([alone])).logits[0], rtol=1e-4, atol=1e-5)


def test_loss_asks_for_the_next_token_of_the_same_branch_only():
    solid, text = pieces()
    (row,) = rows.pack(iter([solid]), iter([text]), block=len(solid.ids) + 4, rows=1, exercises=1.0)
    batch = rows.collate([row])
    asked = [
        (int(batch["input_ids"][0, column]), int(batch["labels"][0, column]), int(weight))
        for column, weight in enumerate(batch["weights"][0])
        if weight
    ]
    w = rows.ANSWER_WEIGHT
    assert asked == [
        (1, 10, 1), (10, 11, 1), (11, 12, 1), (20, 21, 1), (21, 30, w), (30, 2, w),
        (22, 23, 1), (23, 24, 1), (24, 31, w), (31, 2, w), (1, 40, 1), (40, 41, 1), (41, 2, 1),
    ]  # fmt: skip


def test_rows_are_full_and_exercises_are_never_cut():
    exercise = rows.exercise([1, 5, 6], [([7], [8, 2])])
    texts = (rows.plain([1, *range(10, 10 + size), 2]) for size in range(1, 200))
    packed = rows.pack(iter([exercise] * 500), texts, block=16, rows=30, exercises=0.5)
    assert len(packed) == 30 and all(len(row.ids) == 16 for row in packed)
    practised = sum((row.branch >= 0).any(0) * 1 for row in packed)
    assert practised > 10
    for row in packed:
        for number in set(row.piece[row.branch >= 0].tolist()):
            assert row.ids[row.piece == number].tolist() == [1, 5, 6, 7, 8, 2]


@pytest.mark.parametrize("block", [200, 260, 300, 384, 1024])
def test_a_passage_comes_with_the_questions_that_fit(block):
    level, tokenizer = practice.Level(quoted=1.0, unanswerable=0.0, longest=45), tiny.tokenizer()
    pieces = list(teacher.Teacher(tokenizer, [], block, seed=3).reading(ARTICLE, level))
    whole = list(teacher.Teacher(tokenizer, [], 10_000, seed=3).reading(ARTICLE, level))
    assert all(len(piece.ids) <= block for piece in pieces)
    assert len(pieces) == sum(piece.branch.count(-1) + piece.branch.count(0) <= block for piece in whole)
    firsts = {tuple(piece.ids[: piece.branch.index(0)]): piece for piece in whole}
    for piece in pieces:
        entire = firsts[tuple(piece.ids[: piece.branch.index(0)])]
        assert entire.ids[: len(piece.ids)] == piece.ids
        asked = max(piece.branch) + 1
        if asked <= max(entire.branch):
            assert len(piece.ids) + entire.branch.count(asked) > block, "the next would not have fitted"


def test_a_drill_asks_only_for_what_is_said_again(tmp_path):
    tokenizer = tiny.tokenizer()
    for _ in range(20):
        drill = teacher.Teacher(tokenizer, [], 64, seed=3).drill()
        once = drill.weight.index(1) - 1
        assert len(drill.ids) <= 64 and all(w == 1 for w in drill.weight[once + 1 :])
        assert all(drill.ids[i] == drill.ids[i - once] for i in range(once, len(drill.ids)))


def test_practice_begins_with_drills():
    lessons = teacher.Teacher(tiny.tokenizer(), [], 1024, seed=3)
    drills = [not piece.weight[1] for piece, _ in zip(lessons.exercises([ARTICLE] * 3), range(60), strict=False)]
    assert 0.2 < sum(drills) / len(drills) < 0.5
    lessons.practised = teacher.WARM_UP
    drills = [not piece.weight[1] for piece, _ in zip(lessons.exercises([ARTICLE] * 3), range(60), strict=False)]
    assert sum(drills) / len(drills) < 0.1


def said(tokenizer, always: int | None = None, bears_trees: bool = True):
    """A language model that foretells everything (it looks one token ahead), or says one token always."""

    def forward(input_ids, attention_mask, position_ids, use_cache):
        ahead = input_ids.roll(-1, 1) if always is None else torch.full_like(input_ids, always)
        return SimpleNamespace(logits=torch.nn.functional.one_hot(ahead, 8192))

    forward.config = LlamaConfig()
    forward.config._attn_implementation, forward.dtype = "sdpa", torch.float32
    return SimpleNamespace(
        causal=forward, tokenizer=tokenizer, bears_trees=bears_trees, device=torch.device("cpu"), source="a model"
    )


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(models.find("mini").source)


def test_exam_tells_who_answers_from_who_abstains(tokenizer):
    refusal = tokenizer(" unanswerable", add_special_tokens=False)["input_ids"][0]
    knowing, silent = (exam.sit(said(tokenizer, always), [ARTICLE] * 9, 20) for always in (None, refusal))
    assert {name: part["right"] for name, part in knowing.items()} == dict.fromkeys(knowing, 1.0)
    assert silent["unanswerable"] == silent["twisted"] == {"n": 20, "right": 1.0}
    assert silent["quoted"]["right"] == silent["words_left_out"]["right"] == 0.0
    assert silent["drills"]["right"] < 0.01 and silent["drills"]["n"] > 500


def test_exam_needs_enough_text(tokenizer):
    with pytest.raises(ValueError, match="give a longer one"):
        exam.sit(said(tokenizer), ["A heron waited."], 20)


def test_a_model_without_trees_cannot_sit_the_exam(tokenizer):
    with pytest.raises(ValueError, match="cannot sit the exam"):
        exam.sit(said(tokenizer, bears_trees=False), [ARTICLE] * 9, 20)
