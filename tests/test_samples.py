"""The rows that we wrote ourselves: enough of them, balanced, and answers where they say they are."""

from collections import Counter

import pytest

from llmft_core import rows, tasks
from llmft_core.tasks import squad_v2, sst2

SENTENCES = [row for part in sst2.TASK.samples() for row in part]
QUESTIONS = [row for part in squad_v2.TASK.samples() for row in part]


def test_sentences_are_many_balanced_and_different():
    assert len(SENTENCES) >= 220
    for part in sst2.TASK.samples():
        assert Counter(row["label"] for row in part)[1] == len(part) / 2
    assert len({row["sentence"].lower() for row in SENTENCES}) == len(SENTENCES)


def test_sentences_differ_in_length():
    lengths = [len(row["sentence"].split()) for row in SENTENCES]
    assert min(lengths) <= 3 and max(lengths) >= 35


def test_words_alone_do_not_tell_the_sentences_apart():
    """Both classes negate, and no common word gives a class away."""
    for word in ("not", "no", "never", "but", "and", "the"):
        counts = Counter(row["label"] for row in SENTENCES if word in row["sentence"].lower().split())
        assert min(counts[0], counts[1]) >= 2, word


def test_questions_are_many_and_a_third_has_no_answer():
    paragraphs = Counter(row["context"] for row in QUESTIONS)
    assert len(paragraphs) >= 42 and min(paragraphs.values()) >= 4
    assert len(QUESTIONS) >= 170
    unanswerable = sum(not row["answers"] for row in QUESTIONS) / len(QUESTIONS)
    assert 0.3 <= unanswerable <= 0.37
    assert len({row["question"] for row in QUESTIONS}) == len(QUESTIONS)


def test_answers_stand_where_they_say():
    for row in QUESTIONS:
        for answer in row["answers"]:
            start = answer["answer_start"]
            assert row["context"][start : start + len(answer["text"])] == answer["text"], row["question"]


def test_some_questions_accept_several_answers():
    assert sum(len(row["answers"]) > 1 for row in QUESTIONS) >= 30


def test_the_style_of_a_question_does_not_give_it_away():
    """Question words and lengths are alike for questions with and without an answer."""
    groups = [[row["question"] for row in QUESTIONS if bool(row["answers"]) == kind] for kind in (True, False)]
    lengths = [sum(len(question.split()) for question in group) / len(group) for group in groups]
    assert abs(lengths[0] - lengths[1]) < 1.5
    openings = [{question.split()[0] for question in group} for group in groups]
    assert {"How", "What", "Who", "Which", "When", "In"} <= openings[0] & openings[1]


@pytest.mark.parametrize("name", tasks.names())
def test_what_is_learnt_and_what_is_tested_do_not_meet(name):
    task = tasks.find(name)
    learn, test = (rows.samples(task, part) for part in task.splits)
    assert not {example.group for example in learn} & {example.group for example in test}
    assert not {example.id for example in learn} & {example.id for example in test}


@pytest.mark.parametrize("name", tasks.names())
def test_the_first_three_test_rows_are_good_to_show(name):
    task = tasks.find(name)
    first = rows.samples(task, task.splits[1])[:3]
    assert len({example.answers for example in first}) > 1
