"""Label metrics, calibration and the no-answer threshold: trivial answers, invalid ones, biased ones, tied ones."""

import numpy as np
import pandas as pd
import pytest

from llmft_core import metrics

DEV = np.array([1] * 444 + [0] * 428)  # the label counts of SST-2's official dev set


def biased_side(n=2000, bias=0.0, seed=3):
    """Gold labels, and label log-probabilities [n, 2] of a model that knows much but leans to label 1 by `bias`."""
    random = np.random.default_rng(seed)
    gold = random.integers(2, size=n)
    margin = (2 * gold - 1) * 1.5 + random.normal(size=n) + bias
    return gold, np.stack([-np.logaddexp(0, margin), -np.logaddexp(0, -margin)], axis=1)


# --- classification ---


def test_trivial_answers_score_what_they_must():
    always = metrics.classification(DEV, np.ones(872, int))
    never = metrics.classification(DEV, np.zeros(872, int))
    assert [round(always[name], 3) for name in ("accuracy", "f1", "f1_macro")] == [0.509, 0.675, 0.337]
    assert [round(never[name], 3) for name in ("accuracy", "f1", "f1_macro")] == [0.491, 0.0, 0.329]
    assert (always["recall"], never["precision"]) == (1, 0)
    table = pd.DataFrame({"gold": DEV, "predicted": 0})
    assert metrics.classification_tally(table).values() == pytest.approx(never)


def test_recall_is_not_the_accuracy_under_another_name():
    from sklearn.metrics import recall_score

    predicted = np.where(np.arange(872) % 3 == 0, 1 - DEV, DEV)
    predicted[:200] = 0
    found = metrics.classification(DEV, predicted)
    assert recall_score(DEV, predicted, average="weighted") == pytest.approx(found["accuracy"])
    assert abs(found["recall"] - found["accuracy"]) > 0.1


def test_an_invalid_answer_is_wrong_and_has_its_own_column():
    gold = np.arange(13_471) % 2
    predicted = gold.copy()
    predicted[:7_255] = -1  # a published zero-shot run: 54 % unparseable, right 78 % of the time otherwise
    predicted[7_255 : 7_255 + 1_367] = 1 - gold[7_255 : 7_255 + 1_367]
    found = metrics.classification(gold, predicted)
    parsed = predicted >= 0
    assert round(found["accuracy"], 2) == 0.36
    assert round(float((gold == predicted)[parsed].mean()), 2) == 0.78
    assert found["invalid_rate"] == 7_255 / 13_471
    assert found["recall"] < 0.5 < found["precision"]
    counts = metrics.confusion(gold, predicted)
    assert counts.shape == (2, 3)
    assert (counts[:, 2].sum(), counts.sum()) == (7_255, 13_471)
    assert (counts[0, 0] + counts[1, 1]) / counts.sum() == found["accuracy"]


def test_what_is_undefined_is_left_out_and_what_is_empty_is_refused():
    assert "auroc" not in metrics.classification([1, 1], [1, 0], [0.9, 0.2])
    assert {"auroc", "ece"}.isdisjoint(metrics.classification([1, 0], [1, 0]))
    with pytest.raises(ValueError, match="at least one"):
        metrics.classification([], [])
    with pytest.raises(ValueError, match="2 gold labels but 1"):
        metrics.classification([1, 0], [1])


def test_three_labels_get_macro_means():
    found = metrics.classification([0, 1, 2, 2], [0, 1, 2, -1], labels=3)
    assert found["f1"] == found["f1_macro"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert found["recall"] == pytest.approx((1 + 1 + 0.5) / 3)


@pytest.mark.parametrize("labels", [2, 3])
def test_the_tally_for_the_bootstrap_gives_scikit_learns_numbers(labels):
    random = np.random.default_rng(labels)
    gold, predicted = random.integers(labels, size=300), random.integers(-1, labels, size=300)
    p_positive = np.round(random.random(300), 1) if labels == 2 else None
    if labels == 2:
        p_positive[predicted < 0] = np.nan
    table = pd.DataFrame({"gold": gold, "predicted": predicted} | ({} if labels == 3 else {"p_positive": p_positive}))
    official = metrics.classification(gold, predicted, p_positive, labels)
    assert metrics.classification_tally(table, labels).values() == pytest.approx(official)
    assert ("auroc" in official) == (labels == 2)


# --- calibration ---


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy():
    gold, predicted = np.array([1, 1, 1, 0, 0]), np.ones(5, int)
    assert metrics.calibration_error(gold, predicted, np.full(5, 0.6)) == pytest.approx(0.0, abs=1e-12)
    assert metrics.calibration_error(gold, predicted, np.full(5, 0.9)) == pytest.approx(0.3)
    assert metrics.calibration_error(gold, 1 - predicted, np.full(5, 0.1)) == pytest.approx(0.5)
    assert np.isnan(metrics.calibration_error(gold, predicted, np.full(5, np.nan)))


def test_reliability_table_adds_up_to_the_calibration_error():
    gold, log_probs = biased_side(bias=1.0)
    p_positive = np.exp(log_probs[:, 1])
    predicted = (p_positive > 0.5).astype(int)
    table = metrics.reliability(gold, predicted, p_positive)
    gaps = (table.n * (table.confidence - table.accuracy).abs()).sum() / table.n.sum()
    assert gaps == pytest.approx(metrics.calibration_error(gold, predicted, p_positive))
    assert table.n.sum() == 2000
    assert ((table.low <= table.confidence) & (table.confidence <= table.high)).all()


def test_a_constant_bias_ruins_accuracy_but_not_auroc_and_calibrating_takes_it_out():
    gold, fair = biased_side()
    _, biased = biased_side(bias=4.0)

    def scores(probabilities):
        return metrics.classification(gold, probabilities.argmax(axis=1), probabilities[:, 1])

    before, after = scores(np.exp(biased)), scores(metrics.calibrate(biased))
    assert before["accuracy"] < 0.6
    assert before["auroc"] == pytest.approx(scores(np.exp(fair))["auroc"], abs=1e-9)
    assert after["auroc"] == pytest.approx(before["auroc"], abs=1e-9)
    assert after["accuracy"] > 0.9
    assert after["ece"] < before["ece"] / 3


def test_calibrated_probabilities_sum_to_one_and_ignore_what_is_equal_for_all_labels():
    _, log_probs = biased_side(n=50, bias=2.0)
    calibrated = metrics.calibrate(log_probs)
    assert calibrated.sum(axis=1) == pytest.approx(np.ones(50))
    assert metrics.calibrate(log_probs - np.linspace(0, 40, 50)[:, None]) == pytest.approx(calibrated)


def test_one_sentence_is_calibrated_with_the_prior_of_a_batch():
    _, log_probs = biased_side(n=50, bias=2.0)
    prior = metrics.label_prior(log_probs)
    assert metrics.calibrate(log_probs[7], prior)[0] == pytest.approx(metrics.calibrate(log_probs)[7])
    assert metrics.calibrate(log_probs[7])[0] == pytest.approx([0.5, 0.5])


# --- the no-answer threshold ---


def official_best(scores, has_answer, p_no_answer):
    """find_best_thresh of the official script (answers are never empty here): its best mean and its threshold."""
    current = best = int((~has_answer).sum())
    threshold = 0.0
    for i in np.argsort(p_no_answer, kind="stable"):
        current += scores[i] if has_answer[i] else -1
        if current > best:
            best, threshold = current, p_no_answer[i]
    return best / len(scores), threshold


def test_the_best_threshold_can_be_reached_where_the_official_search_invents_one():
    scores, has_answer, p = np.array([1.0, 0, 0]), np.array([True, False, False]), np.full(3, 0.5)
    claimed, threshold = official_best(scores, has_answer, p)
    assert (claimed, threshold) == (1.0, 0.5)
    assert metrics.apply_threshold(scores, has_answer, p, threshold).mean() == pytest.approx(1 / 3)
    best = metrics.best_threshold(scores, has_answer, p)
    assert best.score == pytest.approx(2 / 3)
    assert metrics.apply_threshold(scores, has_answer, p, best.value).mean() == pytest.approx(best.score)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_threshold_is_reached_and_nothing_beats_it(seed):
    random = np.random.default_rng(seed)
    has_answer = random.random(40) < 0.5
    scores = np.where(has_answer, random.random(40), 0.0)
    p = (random.integers(0, 6, size=40) / 5).astype(np.float32)  # many ties, zeros among them
    best = metrics.best_threshold(scores, has_answer, p)
    assert metrics.apply_threshold(scores, has_answer, p, best.value).mean() == pytest.approx(best.score)
    tried = [metrics.apply_threshold(scores, has_answer, p, t).mean() for t in [-1, *np.linspace(0, 1, 101)]]
    assert best.score == pytest.approx(max(tried))


def test_of_equal_thresholds_the_one_that_abstains_least_is_taken():
    best = metrics.best_threshold([1.0, 0.0], [True, True], [0.2, 0.7])
    assert best == (pytest.approx(0.7), 0.5)


def test_a_threshold_on_noise_gains_nothing_when_held_out():
    random = np.random.default_rng(5)
    has_answer = random.random(300) < 0.5
    scores, groups = np.where(has_answer, 0.9, 0.1), np.arange(300) // 3
    noise = metrics.threshold_report(scores, has_answer, random.random(300), groups)
    assert noise["in_sample"] > noise["as_written"]
    assert noise["held_out"] < noise["in_sample"]
    useful = metrics.threshold_report(scores, has_answer, np.where(has_answer, 0.2, 0.8), groups)
    assert useful["held_out"] == pytest.approx(useful["in_sample"]) != pytest.approx(useful["as_written"])
    assert useful["threshold"] == pytest.approx(0.2)


def test_a_threshold_refuses_missing_probabilities():
    with pytest.raises(ValueError, match="finite p_no_answer"):
        metrics.best_threshold([1.0], [True], [np.nan])
