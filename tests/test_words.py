"""How numbers are said: one decimal, real minus, no nan; and the sentence of the verdict."""

import math

import pytest

from llmft_core import words

METRICS = {
    "n": 872,
    "zero_shot": {"accuracy": 0.5413, "ece": 0.17},
    "fine_tuned": {"accuracy": 0.8463, "ece": 0.04},
    "delta": {
        "accuracy": {"value": 0.305, "low": 0.271, "high": 0.339, "p": 1e-9},
        "ece": {"value": -0.13, "low": -0.16, "high": -0.10, "p": 0.001},
    },
    "flips": {"fixed": 301, "broken": 35, "both_right": 437, "both_wrong": 99, "p": 1e-9},
}


def changed(name="accuracy", **delta):
    return METRICS | {"delta": {name: METRICS["delta"][name] | delta}}


def test_verdict_is_the_agreed_sentence():
    said = words.verdict(METRICS)
    assert said.kind == "better"
    assert said.text == (
        "Better: accuracy 54.1 → 84.6 %, +30.5 points [27.1, 33.9], p < 0.001, n = 872. Fixed 301, broke 35."
    )
    assert said.short == "Better: accuracy 54.1 → 84.6 %, +30.5 points [27.1, 33.9]."


def test_verdict_below_an_answer_without_reading_says_so():
    said = words.verdict(METRICS | {"baseline": {"accuracy": 0.9}}).text
    assert said.endswith(" The same answer to everything scores 90.0 %.")
    assert words.verdict(METRICS | {"baseline": {"accuracy": 0.5}}).text == words.verdict(METRICS).text


def test_verdict_on_our_own_samples_says_so():
    assert ", on sample rows of our own." in words.verdict(METRICS | {"source": "samples"}).short
    assert "sample" not in words.verdict(METRICS | {"source": "hub"}).text


def test_verdict_marks_its_word_and_its_new_value():
    roles = {piece.role: piece.text for piece in words.verdict(METRICS).pieces}
    assert roles["word"] == "Better: "
    assert roles["value"] == "84.6 %"


def test_an_interval_that_spans_zero_is_no_clear_difference_and_bolds_no_value():
    said = words.verdict(changed(low=-0.01, high=0.05))
    assert said.kind == "unclear"
    assert said.text.startswith("No clear difference: accuracy 54.1 → 84.6 %")
    assert "value" not in {piece.role for piece in said.pieces}


def test_a_p_of_five_per_cent_or_more_is_no_clear_difference():
    assert words.verdict(changed(p=0.06)).kind == "unclear"
    assert words.verdict(changed(p=0.04)).kind == "better"


def test_a_fall_is_worse_and_has_a_real_minus():
    said = words.verdict(changed(value=-0.305, low=-0.339, high=-0.271))
    assert said.kind == "worse"
    assert "−30.5 points [−33.9, −27.1]" in said.text
    assert "-" not in said.text


def test_a_fall_of_the_calibration_error_is_better():
    said = words.verdict(METRICS, "ece")
    assert said.kind == "better"
    assert said.text.startswith("Better: calibration error 17.0 → 4.0 %, −13.0 points")


def test_abstaining_more_is_neither_better_nor_worse():
    assert words.kind_of("abstention_rate", 0.3, 0.2, 0.4, 0.001) == "unclear"


def test_verdict_without_interval_p_and_flips_leaves_them_out():
    said = words.verdict({"zero_shot": {"f1": 0.1}, "fine_tuned": {"f1": 0.2}})
    assert said.text == "No clear difference: F1 10.0 → 20.0 %, +10.0 points."


@pytest.mark.parametrize("metrics", [None, {}, {"zero_shot": {"f1": None}, "fine_tuned": {"f1": 0.2}}, {"n": 3}])
def test_verdict_without_a_pair_says_so_in_words(metrics):
    said = words.verdict(metrics)
    assert said.kind == "none"
    assert said.text.endswith(".") and "None" not in said.text and "nan" not in said.text


def test_headline_is_accuracy_then_f1_then_whatever_there_is():
    assert words.headline({"fine_tuned": {"f1": 1, "accuracy": 1}}) == "accuracy"
    assert words.headline({"fine_tuned": {"exact_match": 1, "f1": 1}}) == "f1"
    assert words.headline({"fine_tuned": {"colour": 1}}) == "colour"
    assert words.headline({}) == ""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.percent(0.846), "84.6 %"),
        (words.percent(0.846, unit=False), "84.6"),
        (words.percent(0.0319, digits=2), "3.19 %"),
        (words.points(0.305), "+30.5"),
        (words.points(-0.24), "−24.0"),
        (words.points(-0.0001), "0.0"),
        (words.interval(-0.164, 0.106), "[−16.4, 10.6]"),
        (words.p_value(0.0009), "< 0.001"),
        (words.p_value(0.24), "0.24"),
        (words.p_value(0.0123), "0.012"),
        (words.p_value(0.5), "0.50"),
        (words.p_phrase(0.24), "p = 0.24"),
        (words.p_phrase(0.0), "p < 0.001"),
        (words.count(11873), "11,873"),
        (words.cosine_gap(0.00051), "0.0005"),
        (words.significant(0.01423), "0.0142"),
        (words.significant(0.000002), "2e−06"),
        (words.size(6.52), "6.5M"),
        (words.size(135), "135M"),
        (words.size(1236), "1.2B"),
        (words.size(0), ""),
        (words.duration(72), "1:12"),
        (words.duration(46.4), "0:46"),
        (words.duration(59.7), "1:00"),
        (words.duration(3725), "1:02:05"),
        (words.latency(0.041), "41 ms"),
        (words.latency(1.24), "1.2 s"),
    ],
)
def test_numbers_are_said_as_agreed(said, expected):
    assert said == expected


@pytest.mark.parametrize(
    "say",
    [words.percent, words.points, words.p_value, words.p_phrase, words.count, words.cosine_gap, words.significant]
    + [words.duration, words.latency, words.size, words.decimal, lambda x: words.interval(x, 1)],
)
@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_missing_number_is_empty(say, missing):
    assert say(missing) == ""


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (("running", "64 %"), "◐ running 64 %"),
        (("running", "training, 64 %"), "◐ running: training, 64 %"),
        (("finished",), "● finished"),
        (("queued", "1 ahead"), "○ queued, 1 ahead"),
        (("failed", "out of memory"), "▲ failed: out of memory"),
        (("failed", "The model needs 9.1 GB.", "out-of-memory"), "▲ failed: out of memory"),
        (("failed", "A sentence.", "other"), "▲ failed: A sentence."),
        (("cancelled", "at step 40"), "■ cancelled at step 40"),
        (("died", "The process ended without a word."), "▲ interrupted"),
    ],
)
def test_states_carry_a_shape_and_a_word(state, expected):
    assert words.state(*state) == expected


def test_an_unknown_metric_is_called_by_its_name():
    assert words.metric("edit_distance") == ("Edit distance", "edit distance", 1)
    assert words.metric("ece").better == -1
