"""Tasks: found by any spelling; rows, prompts and answers; and a copied file that is a third task."""

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmft_core import metrics, rows, tasks
from llmft_core.engine import data
from llmft_core.tasks import squad_v2, sst2
from llmft_core.worker import report

EVERY = [tasks.find(name) for name in tasks.names()]


@pytest.fixture
def third_task(tmp_path, monkeypatch):
    """A task made by copying sst2.py to a new name."""
    shutil.copy(Path(sst2.__file__), tmp_path / "letters.py")
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    tasks._tasks.cache_clear()
    yield "letters"
    tasks._tasks.cache_clear()
    sys.modules.pop("llmft_core.tasks.letters", None)


def test_both_tasks_are_found_and_nothing_else():
    assert set(tasks.names()) == {"sst2", "squad_v2"}


@pytest.mark.parametrize("spelling", ["squad_v2", "squad2", "SQuAD v2", "squad-v2"])
def test_a_task_is_found_however_it_is_spelt(spelling):
    assert tasks.find(spelling) is squad_v2.TASK


def test_an_unknown_task_names_the_choices():
    with pytest.raises(ValueError, match="Unknown task 'cola'.*squad_v2, sst2"):
        tasks.find("cola")


def test_copying_sst2_to_a_new_name_makes_a_third_task(third_task, tmp_path):
    assert third_task in tasks.names()
    task = tasks.find("letters")
    assert task.name == "letters" and tasks.find("sst2") is sst2.TASK
    folder = tmp_path / "data" / "letters"
    folder.mkdir(parents=True)
    for part in task.splits:
        pd.DataFrame(task.samples()[part == "validation"]).to_csv(folder / f"{part}.csv", index=False)
    found = data.load(task, "official", tmp_path / "data")
    assert len(found.train) == len(task.samples()[0]) and found.source == "data-dir"


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.name)
def test_a_task_is_whole(task):
    learn, test = task.samples()
    assert learn and test and set(task.columns) <= set(learn[0])
    example = task.to_example(test[0])
    prompt = task.prompt(example)
    assert prompt.prefix.endswith("\n") and not prompt.question.startswith(("\n", " "))
    assert not prompt.question.endswith(" "), "the space belongs to the answer"
    assert example.question in prompt.question and example.shared in prompt.prefix
    assert task.headline in task.score(example.answers[0], example)
    assert task.score(example.answers[0], example)[task.headline] == 1
    assert task.what.endswith((".", "?"))


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.name)
def test_the_instruction_is_short(task):
    example = task.to_example(task.samples()[1][0])
    words = " ".join(task.prompt(example)).replace(example.shared, "").replace(example.question, "").split()
    assert len(words) <= 12, words


def test_the_prompt_names_what_an_answer_may_be():
    sentence, question = (task.prompt(task.to_example(task.samples()[1][0])) for task in (sst2.TASK, squad_v2.TASK))
    assert all(label in sentence.prefix for label in sst2.TASK.labels)
    assert squad_v2.TASK.abstention in question.prefix


# ---- SST-2 --------------------


def row(**changes):
    return {"idx": 3, "sentence": "a fine  day out ", "label": 1} | changes


def test_a_sentence_is_stripped_and_positive_is_one():
    example = sst2.to_example(row())
    assert (example.id, example.question, example.answers) == ("3", "a fine day out", ("positive",))
    assert sst2.to_example(row(label=np.int64(0))).answers == ("negative",)
    assert sst2.to_example(row(label="1")).answers == sst2.to_example(row(label=1.0)).answers == ("positive",)


@pytest.mark.parametrize("label", ["maybe", -1, 2, None, "", 0.5])
def test_a_wrong_label_names_its_column(label):
    with pytest.raises(ValueError, match="^label: .* is not 0 or 1"):
        sst2.to_example(row(label=label))


@pytest.mark.parametrize("sentence", ["", "  ", None, 5, math.nan])
def test_a_missing_sentence_names_its_column(sentence):
    with pytest.raises(ValueError, match="^sentence: "):
        sst2.to_example(row(sentence=sentence))


@pytest.mark.parametrize(
    ("text", "label"),
    [(" positive", "positive"), ("Negative.", "negative"), ('"positive"', "positive"), ("\nnegative", "negative")]
    + [("", ""), ("good", ""), ("I think it is positive", "")],
)
def test_a_generated_label_is_read_or_invalid(text, label):
    assert sst2.parse(text) == label


def test_the_baseline_of_sst2_is_always_positive(data_dir):
    labels = pd.read_parquet(data_dir / "sst2" / "validation.parquet").label.to_numpy()
    table = pd.DataFrame({"gold": labels, "predicted": np.ones_like(labels)})
    found = sst2.summarise(table)
    known = {"accuracy": 0.5092, "precision": 0.5092, "recall": 1.0, "f1": 0.6748, "f1_macro": 0.3374}
    for name, value in known.items():
        assert found[name] == pytest.approx(value, abs=6e-5), name


def test_of_equal_classes_the_trivial_answer_is_the_one_with_an_f1():
    both = [sst2.to_example({"idx": label, "sentence": "so so", "label": label}) for label in (0, 1)]
    rows = report.trivial_rows(sst2.TASK, both)
    assert rows.predicted.tolist() == [1, 1] and sst2.summarise(rows)["f1"] == pytest.approx(2 / 3)
    assert report.trivial_rows(sst2.TASK, [*both, both[0]]).predicted.tolist() == [0, 0, 0]


# ---- SQuAD v2 --------------------


def ask(answers):
    return squad_v2.to_example(
        {"id": "a", "title": "", "context": " A hen\nran. ", "question": "What  ran? ", "answers": answers}
    )


def test_a_question_is_grouped_by_its_paragraph():
    first, second = ask([]), squad_v2.to_example(
        {"id": "b", "title": "x", "context": "A hen ran.", "question": "Who?", "answers": []}
    )  # fmt: skip
    assert first.shared == "A hen\nran." and first.question == "What ran?"
    assert first.group == second.group


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ({"text": np.array(["hen", "A hen", "hen"], dtype=object), "answer_start": [2, 0, 2]}, ("hen", "A hen")),
        ([{"text": "hen", "answer_start": 2}], ("hen",)),
        (np.array([{"text": "hen"}], dtype=object), ("hen",)),
        ('{"text": ["hen"], "answer_start": [2]}', ("hen",)),
        *((empty, ()) for empty in (None, {}, [], "", "null", "[]", math.nan, {"text": [], "answer_start": []})),
    ],
)  # fmt: skip
def test_answers_are_read_in_every_form(cell, answers):
    assert ask(cell).answers == answers


@pytest.mark.parametrize("cell", [5, "hen", "{'text': ['hen']}", {"answer": "hen"}, {"text": "hen"}, [1], ["hen"]])
def test_wrong_answers_name_their_column(cell):
    with pytest.raises(ValueError, match="^answers: "):
        ask(cell)


@pytest.mark.parametrize(
    "text",
    ["unanswerable", " Unanswerable.\nand more", "The answer is unanswerable.", "No answer", "N/A", "I don't know."]
    + ["The question is unanswerable based on the context.", "It cannot be answered from the text", "", "...", '""']
    + ["The passage does not say who.", "not mentioned in the paragraph", "There is no answer in the given text."],
)  # fmt: skip
def test_a_refusal_is_an_abstention(text):
    assert squad_v2.parse(text) == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" in 1912\nQuestion: what else?", "in 1912"),
        ("The answer is Paris.", "Paris"),
        ("Answer: 'blue'.", "blue"),
        ('"the old bridge."', "the old bridge"),
        ("**Paris**", "Paris"),
        ("U.S.", "U.S."),
        ("Unknown Pleasures", "Unknown Pleasures"),
        ("none of the three", "none of the three"),
        ('"Rome" and "Milan"', '"Rome" and "Milan"'),
        ("“blue”", "“blue”"),
    ],
)
def test_an_answer_is_freed_of_its_wrapping(text, answer):
    assert squad_v2.parse(text) == answer


def test_gold_answers_survive_parsing(data_dir):
    """Whoever copies a gold answer is right, but for two gold answers that read "unknown" and "None"."""
    examples = rows.read(squad_v2.TASK, data_dir / "squad_v2" / "validation.parquet")
    answerable = [example for example in examples if example.answers]
    lost = [e.answers for e in answerable if metrics.exact_match(squad_v2.parse(e.answers[0]), e.answers) < 1]
    assert len(lost) <= 2, lost


def test_overlap_is_scored_where_there_is_an_answer_only():
    scores = squad_v2.score("hen", ask({"text": ["A hen"]}))
    assert scores["exact_match"] == scores["f1"] == 1 and scores["rouge1"] > 0
    abstained = squad_v2.score("", ask([]))
    assert abstained["exact_match"] == 1 and all(math.isnan(abstained[name]) for name in squad_v2.OVERLAP)
    assert set(scores) == set(abstained)
