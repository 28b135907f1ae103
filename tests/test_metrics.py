"""The metrics room: every trap of these metrics that has a number, held to that number."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from llmft_core import metrics
from llmft_core.metrics import overlap

ANSWERS = [
    "Lisbon",
    "blue paint",
    "the old mill",
    "seven green bottles of ink",
    "a very small boat with two sails",
    "1907",
]
TALKING = "The answer is {}."


def squad_rows(predictions, golds_list, **columns):
    """Prediction rows of one side, as a worker would write them."""
    rows = [
        {"has_answer": bool(golds), "answer": answer, "golds": golds, "bleu_stats": metrics.bleu_stats(answer, golds)}
        | metrics.squad_item(answer, golds)
        | metrics.overlap_item(answer, golds)
        for answer, golds in zip(predictions, golds_list, strict=True)
    ]
    return pd.DataFrame(rows).assign(**columns)


# --- SQuAD v2: one answer ---


@pytest.mark.parametrize(
    ("prediction", "golds", "score"),
    [
        ("The.", [], 1),  # nothing is left of it: a correct abstention
        (" \n", [], 1),
        ("unanswerable", [], 0),  # a refusal in words is the task's to parse
        ("Kiln", [], 0),
        ("", ["Kiln"], 0),
        ("the  KILN!", ["a kiln"], 1),
        ("1914\u20131918", ["1914-1918"], 0),  # an en dash is no ASCII punctuation
        ("19141918", ["1914-1918"], 1),
        ("the miller\u2019s son", ["the miller's son"], 0),  # nor is a curly apostrophe
        ("twenty five", ["twenty-five"], 0),
        ("", ["The"], 1),  # a gold of which nothing is left asks for silence
        ("", ["The", "Kiln"], 0),  # unless there is another gold
        ("Vitamin A", ["vitamin"], 1),
        ("kiln", ["oven", "Kiln"], 1),
    ],
)
def test_exact_match_follows_the_official_rules_at_the_edges(prediction, golds, score):
    assert metrics.exact_match(prediction, golds) == score


def test_normalising_drops_punctuation_before_articles():
    assert metrics.normalise("The U.S.A., an-d A. Theory") == "usa and theory"


def test_f1_counts_repeated_words_as_often_as_they_occur():
    assert metrics.f1("red red red", ["red blue"]) == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert metrics.f1("red red", ["red red blue"]) == pytest.approx(0.8)
    assert metrics.f1("red blue", ["green", "blue red grey"]) == pytest.approx(0.8)


def test_f1_of_silence_is_all_or_nothing():
    assert [metrics.f1("", []), metrics.f1("", ["kiln"]), metrics.f1("kiln", [])] == [1, 0, 0]


def test_a_talkative_answer_is_told_from_an_ignorant_one():
    talking = TALKING.format("Lisbon")
    assert metrics.squad_item(talking, ["Lisbon"]) == {"exact_match": 0, "f1": pytest.approx(0.5)}
    assert metrics.contains_gold(talking, ["Lisbon"]) == 1
    assert metrics.contains_gold("Lisbonne", ["Lisbon"]) == 0
    assert metrics.contains_gold("anything", []) == 0


# --- BLEU, METEOR, ROUGE: one answer, and the ceilings ---


@pytest.mark.parametrize("n", range(1, 9))
def test_meteor_of_n_matching_words_is_not_one(n):
    words = " ".join(f"word{i}" for i in range(n))
    assert metrics.meteor(words, [words]) == pytest.approx(1 - 0.5 / n**3)


def test_meteor_matches_stems_and_takes_the_best_gold():
    assert metrics.meteor("sailing boats", ["sail boat"]) == pytest.approx(1 - 0.5 / 8)
    assert metrics.meteor("sailing boats", ["a mill", "sail boat"]) == metrics.meteor("sailing boats", ["sail boat"])


def test_meteor_says_that_it_has_no_synonyms_where_wordnet_is_not_installed(monkeypatch):
    import nltk.corpus
    from nltk.corpus.util import LazyCorpusLoader

    absent = LazyCorpusLoader("wordnet_that_nobody_installed", nltk.corpus.WordNetCorpusReader, None)
    monkeypatch.setattr(nltk.corpus, "wordnet", absent)
    monkeypatch.setattr(overlap, "_WORDNET", overlap._WordNet())
    assert metrics.meteor_uses_synonyms() is False
    assert metrics.meteor("car", ["auto"]) == 0


def test_meteor_loads_wordnet_once_and_reads_it_from_one_thread_at_a_time(monkeypatch):
    loads, inside, clashes = [], [], []

    def synsets(word):
        inside.append(word)
        clashes.extend(inside[1:])
        lemma = SimpleNamespace(name=lambda: "motor")
        for _ in range(2000):
            pass
        inside.pop()
        return [SimpleNamespace(lemmas=lambda: [lemma])]

    monkeypatch.setattr(overlap, "_installed_wordnet", lambda: loads.append(1) or SimpleNamespace(synsets=synsets))
    monkeypatch.setattr(overlap, "_WORDNET", overlap._WordNet())
    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(lambda i: metrics.meteor(f"engine{i % 50}", ["motor"]), range(400)))
    assert (len(loads), clashes, set(scores)) == (1, [], {0.5})


def test_sentence_bleu_of_a_one_word_answer_can_be_one():
    assert metrics.sentence_bleu("Lisbon", ["Lisbon"]) == 1  # nltk's sentence_bleu says 1.8e-231
    assert metrics.corpus_bleu(["Lisbon"], [["Lisbon"]]) == 0  # sacreBLEU's corpus BLEU wants a 4-gram somewhere


def test_corpus_bleu_is_sacrebleus_with_as_many_references_as_each_item_has():
    from sacrebleu.metrics.bleu import BLEU

    predictions = [TALKING.format(answer) for answer in ANSWERS]
    golds = [[answer, f"it was {answer}"][: 1 + i % 2] for i, answer in enumerate(ANSWERS)]
    streams = [[gold[0] for gold in golds], [gold[1] if len(gold) > 1 else None for gold in golds]]
    official = BLEU(tokenize="13a", smooth_method="exp").corpus_score(predictions, streams).score / 100
    assert 0.05 < official < 0.5
    assert metrics.corpus_bleu(predictions, golds) == pytest.approx(official, abs=1e-12)
    smoothed = BLEU().corpus_score(["The answer is blue paint"], [["blue paint"]]).score / 100  # no 3-gram matches
    assert metrics.corpus_bleu(["The answer is blue paint"], [["blue paint"]]) == pytest.approx(smoothed) != 0


def test_corpus_bleu_of_silence_is_zero_and_no_crash():
    assert metrics.corpus_bleu(["", ""], [["Lisbon"], ["blue paint"]]) == 0
    assert metrics.corpus_bleu([], []) == 0
    assert metrics.corpus_bleu([""], [[]]) == 0


def test_corpus_bleu_leaves_unanswerable_items_out():
    golds = [[answer] for answer in ANSWERS]
    assert metrics.corpus_bleu([*ANSWERS, "nonsense"], [*golds, []]) == metrics.corpus_bleu(ANSWERS, golds) == 1


def test_rouge_reads_only_a_to_z_and_digits():
    assert metrics.rouge("Beyonc\u00e9", ["Beyonc"])["rouge1"] == 1
    assert (
        metrics.rouge("\u041c\u043e\u0441\u043a\u0432\u0430", ["\u041c\u043e\u0441\u043a\u0432\u0430"])["rouge1"] == 0
    )
    assert metrics.rouge("$", ["$"])["rougeL"] == 0


def test_rouge_2_of_one_right_word_is_zero():
    assert metrics.rouge("Lisbon", ["Lisbon"]) == {"rouge1": 1, "rouge2": 0, "rougeL": 1}


def test_rouge_is_the_packages_own_best_f_measure():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    golds = ["seven green bottles", "green bottles of very dark ink"]
    for prediction in ("green bottles of ink", "Bottle of green, seven!", "an empty jar"):
        each = [scorer.score(gold, prediction) for gold in golds]
        best = {name: max(score[name].fmeasure for score in each) for name in each[0]}
        assert metrics.rouge(prediction, golds) == pytest.approx(best)


def test_overlap_is_nothing_for_silence_and_undefined_without_an_answer():
    assert set(metrics.overlap_item(" ", ["Lisbon"]).values()) == {0.0}
    assert all(np.isnan(value) for value in metrics.overlap_item("Lisbon", []).values())
    assert metrics.bleu_stats("Lisbon", []) == [0] * 10


def test_repeated_golds_change_nothing():
    once, thrice = ["blue paint", "paint"], ["blue paint", "paint", "blue paint"]
    assert metrics.overlap_item("the paint", once) == metrics.overlap_item("the paint", thrice)


# --- SQuAD v2: a table ---


def test_a_perfect_system_reaches_the_ceilings_of_its_metrics():
    golds = [[answer] for answer in ANSWERS] + [[]] * 3
    found = metrics.squad_summary(squad_rows([*ANSWERS, "", "", ""], golds))
    words = np.array([len(answer.split()) for answer in ANSWERS])
    ones = ["exact_match", "f1", "has_answer_f1", "no_answer_f1", "bleu", "bleu_sentence", "rouge1", "rougeL"]
    assert {name: found[name] for name in ones} == dict.fromkeys(ones, 1.0)
    assert found["meteor"] == pytest.approx((1 - 0.5 / words**3).mean())
    assert found["rouge2"] == pytest.approx((words > 1).mean())
    assert found["abstention_rate"] == pytest.approx(3 / 9)


def test_always_abstaining_scores_the_share_of_unanswerable_questions():
    has_answer = np.arange(11_873) >= 5_945
    right = (~has_answer).astype(float)
    table = pd.DataFrame({"has_answer": has_answer, "answer": "", "exact_match": right, "f1": right})
    found = metrics.squad_summary(table)
    assert found["exact_match"] == found["f1"] == pytest.approx(0.5007, abs=5e-5)
    assert (found["has_answer_f1"], found["no_answer_f1"], found["abstention_rate"]) == (0, 1, 1)


def test_all_empty_predictions_have_overlap_zero_and_not_the_share_of_right_silence():
    found = metrics.squad_summary(squad_rows([""] * 9, [[answer] for answer in ANSWERS] + [[]] * 3))
    assert {found[name] for name in ("bleu", "bleu_sentence", "meteor", "rouge1", "rouge2", "rougeL")} == {0.0}


def test_an_article_alone_counts_as_an_abstention_just_as_exact_match_says():
    found = metrics.squad_summary(squad_rows(["The.", "", "mill"], [[], [], []]))
    assert found["abstention_rate"] == found["no_answer_exact_match"] == pytest.approx(2 / 3)


def test_metrics_of_questions_that_do_not_occur_are_left_out():
    found = metrics.squad_summary(squad_rows(["", "mill"], [[], []]))
    assert set(found) == {"exact_match", "f1", "no_answer_exact_match", "no_answer_f1", "abstention_rate"}
    with pytest.raises(ValueError, match="no predictions"):
        metrics.squad_summary(pd.DataFrame({"has_answer": []}))


def test_corpus_bleu_of_a_table_needs_the_stored_counts_only():
    table = squad_rows([TALKING.format(a) for a in ANSWERS], [[a] for a in ANSWERS])
    with_golds = metrics.squad_summary(table.drop(columns="bleu_stats"))["bleu"]
    assert metrics.squad_summary(table.drop(columns="golds"))["bleu"] == with_golds > 0
    assert "bleu" not in metrics.squad_summary(table.drop(columns=["golds", "bleu_stats"]))


# --- evaluate ---


def test_importing_the_metrics_loads_none_of_the_slow_libraries():
    slow = ["torch", "datasets", "evaluate", "sklearn", "scipy", "nltk", "sacrebleu", "rouge_score"]
    code = (
        "import sys; import llmft_core.metrics, llmft_core.statistics, llmft_core.evaluate_metrics;"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_evaluate_metrics_give_our_numbers():
    pytest.importorskip("evaluate")
    from llmft_core.evaluate_metrics import metric

    found = metric("sst2").compute(predictions=[1, 0, -1, 1], references=[1, 1, 0, 1], p_positive=[0.9, 0.4, 0.5, 0.8])
    assert found == metrics.classification([1, 1, 0, 1], [1, 0, -1, 1], [0.9, 0.4, 0.5, 0.8])
    assert found["accuracy"] == 0.5
    predictions = [
        {"id": "b", "prediction_text": "", "no_answer_probability": 0.9},
        {"id": "a", "prediction_text": "the mill", "no_answer_probability": 0.1},
    ]
    references = [
        {"id": "a", "answers": {"text": ["Mill"], "answer_start": [4]}},
        {"id": "b", "answers": {"text": [], "answer_start": []}},
    ]
    found = metric("squad_v2").compute(predictions=predictions, references=references)
    assert (found["exact_match"], found["no_answer_f1"], found["auroc_no_answer"]) == (1, 1, 1)


def test_evaluate_metrics_refuse_absent_predictions_and_unknown_names():
    from llmft_core import evaluate_metrics

    question = [{"id": "a", "answers": {"text": ["mill"]}}]
    with pytest.raises(ValueError, match="have no prediction"):  # the official script skips them, and the score rises
        evaluate_metrics._squad_scores([], question)
    with pytest.raises(ValueError, match="sst2 or squad_v2"):
        evaluate_metrics.metric("mnli")
