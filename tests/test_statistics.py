"""Intervals and paired tests: published figures, closed forms, and the mistakes that other tools make."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from llmft_core import metrics, statistics
from llmft_core.tasks.base import Task

NAMES = {"value", "low", "high", "p", "p_holm"}


def label_rows(gold, predicted, p_positive=None) -> pd.DataFrame:
    table = pd.DataFrame({"id": [f"x{i}" for i in range(len(gold))], "gold": gold, "predicted": predicted})
    table["correct"] = (table.gold == table.predicted).astype(float)
    return table if p_positive is None else table.assign(p_positive=p_positive)


def two_sides(n=300, seed=2):
    """One weak and one better side of a label task, with probabilities, and some answers that are no label."""
    random = np.random.default_rng(seed)
    gold = random.integers(2, size=n)
    sides = []
    for skill in (0.3, 1.2):
        p = 1 / (1 + np.exp(-(skill * (2 * gold - 1) + random.normal(size=n))))
        sides.append(label_rows(gold, np.where(random.random(n) < 0.05, -1, p > 0.5), np.round(p, 2)))
    return sides


def squad_sides():
    """Two sides of 60 made-up questions on 12 paragraphs, every third without an answer."""
    random = np.random.default_rng(7)
    words = ["mill", "boat", "river", "green", "old", "bridge", "ink", "bottle"]
    golds = [[] if i % 3 == 0 else [" ".join(random.choice(words, 1 + i % 5))] for i in range(60)]
    sides = []
    for luck in (0.3, 0.7):
        answers = [
            found[0] if found and random.random() < luck else random.choice(["", "old boat", "ink"]) for found in golds
        ]
        rows = [
            {"id": str(i), "group": f"p{i // 5}", "has_answer": bool(found), "answer": answer}
            | metrics.squad_item(answer, found)
            | metrics.overlap_item(answer, found)
            | {"bleu_stats": metrics.bleu_stats(answer, found), "p_no_answer": round(random.random(), 1)}
            for i, (answer, found) in enumerate(zip(answers, golds, strict=True))
        ]
        sides.append(pd.DataFrame(rows).assign(correct=lambda table: table.f1))
    return sides


def accuracy_of(table: pd.DataFrame) -> dict[str, float]:
    return {"accuracy": float(table["correct"].mean())}


def mean_tally(table: pd.DataFrame) -> metrics.Tally:
    columns = np.column_stack([table["correct"], np.ones(len(table))])
    return metrics.Tally(columns, lambda totals: {"accuracy": totals[:, 0] / totals[:, 1]})


# --- one share, one pair of answers ---


@pytest.mark.parametrize(
    ("n", "points"), [(50, 8.5), (100, 6.0), (200, 4.2), (500, 2.6), (872, 2.0), (2000, 1.3), (11_873, 0.5)]
)
def test_wilson_half_widths_at_ninety_per_cent_right(n, points):
    low, high = statistics.wilson(round(0.9 * n), n)
    assert 50 * (high - low) == pytest.approx(points, abs=0.15)


def test_wilson_is_sensible_at_the_ends():
    assert statistics.wilson(0, 0) == (0, 1)
    low, high = statistics.wilson(20, 20)
    assert 0.8 < low < 0.9 and high == 1
    wide, narrow = statistics.wilson(50, 100, level=0.99), statistics.wilson(50, 100, level=0.9)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_mcnemar_gives_the_known_p():
    before = np.repeat([True, False, True, False], [203, 283, 300, 214])
    after = np.repeat([False, True, True, False], [203, 283, 300, 214])
    found = statistics.mcnemar(before, after)
    assert {name: found[name] for name in ("fixed", "broken", "both_right", "both_wrong")} == {
        "fixed": 283, "broken": 203, "both_right": 300, "both_wrong": 214,
    }  # fmt: skip
    assert found["p"] == pytest.approx(3.3e-4, abs=5e-6)


def test_mcnemar_of_identical_sides_is_one_and_no_crash():
    assert statistics.mcnemar([True, False], [True, False])["p"] == 1
    assert statistics.mcnemar([False], [True])["p"] == 1  # one coin can prove nothing


def test_holm_corrects_step_by_step():
    assert statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert statistics.holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert statistics.holm({}) == {}


# --- the bootstrap ---


def test_bootstrap_interval_is_95_per_cent_of_the_paired_difference():
    before, after = two_sides(800)
    found = statistics.paired_bootstrap(before, after, mean_tally)["accuracy"]
    difference = after["correct"] - before["correct"]
    error = difference.std() / np.sqrt(len(difference))
    assert found["delta"] == pytest.approx(difference.mean())
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * error, rel=0.06)
    side = np.sqrt(found["before"] * (1 - found["before"]) / 800)
    assert (found["before_high"] - found["before_low"]) / 2 == pytest.approx(1.96 * side, rel=0.06)


def test_bootstrap_is_paired():
    before, _ = two_sides()
    after = before.copy()
    after.loc[:4, "correct"] = 1 - after.loc[:4, "correct"]
    found = statistics.paired_bootstrap(before, after, mean_tally)["accuracy"]
    assert found["high"] - found["low"] < (found["before_high"] - found["before_low"]) / 3


def test_bootstrap_of_identical_sides_finds_nothing():
    before, _ = two_sides()
    for name, row in statistics.paired_bootstrap(before, before, metrics.classification_tally, draws=200).items():
        assert (row["low"], row["delta"], row["high"], row["p"]) == (0, 0, 0, 1), name


def test_bootstrap_is_seeded():
    before, after = two_sides(120)
    first, again, other = (
        statistics.paired_bootstrap(before, after, metrics.classification_tally, draws=200, seed=s) for s in (4, 4, 5)
    )
    assert first == again != other


def test_bootstrap_draws_whole_groups():
    random = np.random.default_rng(1)
    right = np.repeat(random.random((40, 2)) < 0.5, 10, axis=0).astype(float)  # ten questions that fall together
    before, after = (pd.DataFrame({"correct": right[:, side]}) for side in (0, 1))
    alone = statistics.paired_bootstrap(before, after, mean_tally)["accuracy"]
    grouped = statistics.paired_bootstrap(before, after, mean_tally, groups=np.arange(400) // 10)["accuracy"]
    assert (grouped["high"] - grouped["low"]) / (alone["high"] - alone["low"]) == pytest.approx(np.sqrt(10), rel=0.1)
    assert grouped["p"] > alone["p"]


def test_bootstrap_p_is_never_zero_and_a_handful_of_items_proves_nothing():
    before, after = (pd.DataFrame({"correct": np.full(200, value)}) for value in (0.0, 1.0))
    assert statistics.paired_bootstrap(before, after, mean_tally, draws=999)["accuracy"]["p"] == pytest.approx(0.002)
    few = statistics.paired_bootstrap(before[:3], after[:3], mean_tally)["accuracy"]
    assert few["p"] == 0.25 == statistics.mcnemar(before[:3].correct, after[:3].correct)["p"]


def test_bootstrap_fast_path_is_the_slow_path_for_labels():
    before, after = two_sides(80)
    slow = statistics.paired_bootstrap(
        before, after, lambda t: metrics.classification(t.gold, t.predicted, t.p_positive), draws=60
    )
    fast = statistics.paired_bootstrap(before, after, metrics.classification_tally, draws=60)
    assert (
        set(fast) == set(slow) >= {"accuracy", "precision", "recall", "f1", "f1_macro", "auroc", "ece", "invalid_rate"}
    )
    for name, row in fast.items():
        assert row == pytest.approx(slow[name], abs=1e-9), name


def test_bootstrap_fast_path_is_the_slow_path_for_squad():
    before, after = squad_sides()
    groups = before["group"]
    slow = statistics.paired_bootstrap(before, after, metrics.squad_summary, groups, draws=60)
    fast = statistics.paired_bootstrap(before, after, metrics.squad_tally, groups, draws=60)
    assert (
        set(fast)
        == set(slow)
        >= {"exact_match", "has_answer_f1", "abstention_rate", "bleu", "meteor", "auroc_no_answer"}
    )
    for name, row in fast.items():
        assert row == pytest.approx(slow[name], abs=1e-9), name
    assert fast["bleu"]["delta"] > 0.05


def test_every_interval_holds_the_value_that_it_belongs_to():
    for seed in range(8):
        before, after = two_sides(60, seed=seed)
        for row in statistics.paired_bootstrap(before, after, metrics.classification_tally, draws=200).values():
            assert row["before_low"] <= row["before"] <= row["before_high"]
            assert row["low"] <= row["delta"] <= row["high"]


def test_bootstrap_refuses_sides_of_different_length():
    before, after = two_sides(20)
    with pytest.raises(ValueError, match="same examples"):
        statistics.paired_bootstrap(before, after[:19], mean_tally)


# --- the verdict ---

LABELS = Task(
    name="moods", title="Moods", what="", hub_id="", splits=("train", "validation"), columns=(), to_example=None,
    prompt=None, headline="accuracy", table_metrics=("accuracy",), labels=("bad", "good"),
)  # fmt: skip
FREE_TEXT = replace(LABELS, name="riddles", headline="f1", labels=(), summarise=metrics.squad_summary)


def test_verdict_on_labels_has_the_promised_shape():
    before, after = two_sides()
    found = statistics.verdict(LABELS, before, after, draws=200)
    assert set(found) == {"task", "n", "zero_shot", "fine_tuned", "delta", "flips", "intervals"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["task"], found["n"]) == ("moods", 300)
    assert (
        set(found["zero_shot"])
        == set(found["fine_tuned"])
        == set(found["delta"])
        == set(found["intervals"]["zero_shot"])
    )
    assert all(set(row) == NAMES for row in found["delta"].values())
    assert found["zero_shot"]["accuracy"] == before["correct"].mean()
    assert found["delta"]["accuracy"]["value"] == pytest.approx(after["correct"].mean() - before["correct"].mean())
    flips = found["flips"]
    assert (flips["fixed"] - flips["broken"]) / 300 == pytest.approx(found["delta"]["accuracy"]["value"])


def test_verdict_on_accuracy_is_mcnemars_and_its_intervals_wilsons():
    before, after = two_sides(40)
    after = after.assign(predicted=after.gold, correct=1.0)
    found = statistics.verdict(LABELS, before, after, draws=200)
    assert found["delta"]["accuracy"]["p"] == found["flips"]["p"]
    assert found["delta"]["accuracy"]["p_holm"] >= found["delta"]["accuracy"]["p"]
    assert found["intervals"]["fine_tuned"]["accuracy"] == list(statistics.wilson(40, 40))


def test_intervals_of_one_side_are_those_that_a_verdict_gives_it():
    before, after = squad_sides()
    found = statistics.intervals(FREE_TEXT, after)
    of_both = statistics.verdict(FREE_TEXT, before, after)["intervals"]["fine_tuned"]
    assert found and found == {name: ends for name, ends in of_both.items() if ends[0] < ends[1]}


def test_what_is_the_same_in_every_draw_has_no_interval():
    always = two_sides(40)[1].assign(predicted=1)
    found = statistics.intervals(LABELS, always.assign(correct=(always.gold == 1).astype(float)))
    assert "recall" not in found and found["accuracy"][0] < found["accuracy"][1]


def test_one_row_has_no_interval_but_wilsons():
    one = two_sides(40)[1].head(1)
    assert statistics.intervals(LABELS, one)["accuracy"] == list(statistics.wilson(int(one["correct"].iloc[0]), 1))
    assert statistics.intervals(FREE_TEXT, squad_sides()[1].head(1)) == {}


def test_rows_of_one_group_stand_for_themselves():
    after = two_sides(40)[1].assign(predicted=lambda table: table.gold, correct=1.0, group="one")
    assert statistics.intervals(LABELS, after)["accuracy"] == list(statistics.wilson(40, 40))


def test_verdict_pairs_by_id_whatever_the_order():
    before, after = squad_sides()
    found = statistics.verdict(FREE_TEXT, before, after, draws=100)
    assert statistics.verdict(FREE_TEXT, before, after[::-1], draws=100) == found
    assert found["flips"]["fixed"] == int(((before.exact_match == 0) & (after.exact_match == 1)).sum()) > 0
    assert {"f1", "bleu", "bleu_sentence", "meteor", "rougeL", "auroc_no_answer"} <= set(found["delta"])


def test_verdict_draws_paragraphs_for_free_text():
    before, after = squad_sides()
    alone = statistics.verdict(FREE_TEXT, before.drop(columns="group"), after, draws=400)["delta"]["f1"]
    grouped = statistics.verdict(FREE_TEXT, before, after, draws=400)["delta"]["f1"]
    assert (alone["low"], alone["high"]) != (grouped["low"], grouped["high"])


def test_verdict_refuses_sides_that_do_not_match():
    before, after = two_sides(20)
    with pytest.raises(ValueError, match="2 are on one side only"):
        statistics.verdict(LABELS, before, after.assign(id=[*after.id[:19], "elsewhere"]))
    with pytest.raises(ValueError, match="twice"):
        statistics.verdict(LABELS, before, after.assign(id="x1"))


def test_verdict_measures_a_tasks_own_metrics_too():
    def own(table):
        return {
            "accuracy": float(table.correct.mean()),
            "f1": 0.5 * float(table.correct.mean()),
            "luck": float(table.correct.max()),
        }

    before, after = two_sides(30)
    found = statistics.verdict(replace(LABELS, summarise=own), before, after, draws=80)
    assert set(found["delta"]) == {"accuracy", "f1", "luck"}
    assert found["zero_shot"]["f1"] == pytest.approx(before["correct"].mean() / 2)  # its own meaning of a known name
    assert found["delta"]["f1"]["high"] == pytest.approx(found["delta"]["accuracy"]["high"] / 2, rel=0.5)
    assert found["delta"]["luck"]["p"] == 1
