"""Runs in, tidy data frames out: numbers that agree with the run, and empty frames for empty runs."""

import fakes
import numpy as np
import pandas as pd
import pytest

from llmft_core import events, frames, runs

N = 120
SST2, SQUAD = fakes.run("sst2", N), fakes.run("squad_v2", N)
EMPTY = fakes.empty_run()


class Damaged(fakes.Run):
    """A run whose files cannot be read."""

    def metrics(self):
        raise ValueError("metrics.json is damaged")

    predictions = weights = metrics


BROKEN = Damaged("broken", EMPTY.config)


def texts(task):
    return {example.id: example for example in fakes.examples(task, N)}


# ---- runs and training --------------------


def test_runs_table_has_a_row_per_run_and_leaves_unknown_numbers_missing():
    table = frames.runs_table([SST2, EMPTY, fakes.run(state="failed")])
    assert list(table["state"]) == ["● finished", "○ queued, 1 ahead", "▲ failed: out of memory"]
    assert table["change"][0] == pytest.approx(table["fine_tuned"][0] - table["zero_shot"][0])
    assert table[["zero_shot", "change", "low", "p", "seconds"]].loc[1].isna().all()


def test_runs_table_of_no_runs_keeps_its_columns():
    assert {"name", "state", "change", "seconds"} <= set(frames.runs_table([]).columns)


def test_learning_curve_holds_steps_and_probes_but_not_the_final_result():
    curve = frames.learning_curve(SST2)
    assert curve["loss"].notna().sum() == 20
    probes = curve.dropna(subset=["value"])
    assert list(probes["step"]) == [0, 10, 20, 30, 40]
    assert list(probes["side"]) == ["zero_shot"] + ["fine_tuned"] * 4
    assert (probes["n"] == 128).all() and (probes["low"] < probes["value"]).all() and (probes["high"] < 1).all()
    assert set(probes["metric"]) == {"accuracy"}


def test_learning_curve_reaches_to_the_last_planned_step_while_it_runs():
    curve = frames.learning_curve(fakes.run(state="running"))
    assert curve["step"].max() == 26
    assert set(curve["steps"]) == {40}


def test_what_a_resumed_run_says_again_counts_once_and_last():
    run = fakes.run(state="cancelled")
    again = [events.Step(step, 40, 9.0, 1e-3) for step in (10, 12, 14)]
    run.said += [events.Started(4343), *again]
    curve = frames.learning_curve(run).dropna(subset=["loss"])
    assert curve["step"].is_unique and curve["step"].is_monotonic_increasing
    assert curve.set_index("step")["loss"][12] == 9.0


def test_a_long_run_is_averaged_down_and_keeps_its_last_step():
    run = fakes.empty_run()
    run.said = [events.Step(step, 50_000, float(step), 1e-3, step) for step in range(1, 50_001)]
    curve = frames.learning_curve(run)
    assert len(curve) == 1000
    assert curve["step"].iloc[-1] == 50_000
    assert curve["loss"].mean() == pytest.approx(25_000.5)


def test_a_loss_that_is_not_a_number_does_not_break_the_curve():
    run = fakes.empty_run()
    run.said = [events.Step(1, 2, float("nan"), 1e-3), events.Evaluated("fine_tuned", 2, 0, {"accuracy": None})]
    assert frames.learning_curve(run)[["loss", "value"]].isna().all().all()


# ---- results --------------------


@pytest.mark.parametrize(("run", "first"), [(SST2, "accuracy"), (SQUAD, "f1")])
def test_metric_table_begins_with_the_headline_and_agrees_with_the_run(run, first):
    table = frames.metric_table(run)
    assert table["metric"][0] == first and table["headline"].tolist() == [True] + [False] * (len(table) - 1)
    assert set(table["metric"]) == set(run.metrics()["fine_tuned"])
    row, change = table.iloc[0], run.metrics()["delta"][first]
    assert (row["delta"], row["delta_low"], row["p"]) == (change["value"], change["low"], change["p"])
    assert row["zero_low"] < row["zero_shot"] < row["zero_high"]


def test_metric_table_says_better_worse_or_nothing():
    run = fakes.run("squad_v2", N)
    change = {"value": -0.2, "low": -0.3, "high": -0.1, "p": 0.001}
    run.scores["delta"] |= {"f1": change, "exact_match": change | {"high": 0.1}}
    better = frames.metric_table(run).set_index("metric")["better"]
    assert better["f1"] is False and better["exact_match"] is None and better["abstention_rate"] is None


def test_metric_table_keeps_what_is_asked_for_and_survives_missing_numbers():
    run = fakes.run("sst2", N)
    run.scores |= {
        "intervals": {},
        "delta": {"accuracy": {"value": None, "low": None}},
        "baseline": {},
        "ceiling": None,
    }
    table = frames.metric_table(run, only=("f1", "accuracy", "absent"))
    assert list(table["metric"]) == ["f1", "accuracy"]
    assert table[["zero_low", "delta_low", "p", "baseline", "ceiling"]].isna().all().all()
    assert table["delta"].notna().all()


@pytest.mark.parametrize("run", [SST2, SQUAD])
def test_the_four_boxes_hold_every_item_once_and_agree_with_the_counts(run):
    counts = frames.flips(run).set_index("box")["count"]
    sizes = {box: len(frames.item_table(run, box=box)) for box in counts.index}
    assert sizes == counts.to_dict()
    assert sum(sizes.values()) == N == len(frames.item_table(run))


def test_flips_are_counted_from_the_rows_when_metrics_hold_none():
    run = fakes.run("sst2", N)
    del run.scores["flips"]
    pd.testing.assert_frame_equal(frames.flips(run), frames.flips(SST2))


def test_fixed_labels_are_right_now_and_were_not_before():
    table = frames.item_table(SST2, texts("sst2"), "fixed")
    assert (table["fine_tuned"] == table["gold"]).all() and (table["zero_shot"] != table["gold"]).all()
    assert table["change"].is_monotonic_decreasing
    assert table["text"].str.len().min() > 10
    example = texts("sst2")[table["id"][0]]
    assert (table["text"][0], table["gold"][0]) == (example.question, example.answers[0])


def test_broken_items_begin_with_the_largest_loss():
    assert frames.item_table(SST2, box="broken")["change"].is_monotonic_increasing


def test_an_answer_that_is_no_label_is_called_invalid():
    table = frames.item_table(SST2).set_index("id")
    assert table["zero_shot"]["2"] == "invalid"


def test_the_change_of_a_label_item_is_the_gain_of_its_margin():
    row = frames.item_table(SST2).set_index("id").loc["1"]
    before, after = (SST2.rows[(SST2.rows.side == side) & (SST2.rows.id == "1")].iloc[0] for side in fakes.SIDES)
    gain = (after.logp_1 - after.logp_0) - (before.logp_1 - before.logp_0)
    assert row["gold"] == "positive" and row["change"] == pytest.approx(gain)


def test_free_text_items_show_paragraph_answers_and_silence_in_words():
    table = frames.item_table(SQUAD, texts("squad_v2"))
    assert (table["shared"].str.len() > 0).all()
    assert table.loc[table["id"] == "2", "gold"].item() == "no answer"
    assert " / " in table.loc[table["id"] == "1", "gold"].item()
    assert "no answer" in set(table["zero_shot"]) and table["change"].between(-1, 1).all()


def test_without_texts_nothing_of_the_dataset_is_needed():
    table = frames.item_table(SQUAD)
    assert (table["text"] == "").all() and set(table["gold"]) == {"", "no answer"}
    assert set(frames.item_table(SST2)["gold"]) == {"negative", "positive"}


def test_an_unknown_box_is_refused_with_the_names_of_the_four():
    with pytest.raises(ValueError, match="fixed, both_wrong, both_right, broken"):
        frames.item_table(SST2, box="mended")


def test_the_sides_are_joined_by_id_not_by_position():
    run = fakes.run("sst2", N)
    run.rows = run.rows.sample(frac=1, random_state=0)
    shuffled = frames.item_table(run, box="fixed").sort_values("id", ignore_index=True)
    expected = frames.item_table(SST2, box="fixed").sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, expected)


# ---- behind a score --------------------


def test_reliability_counts_every_item_once_per_side_and_brackets_the_share():
    table = frames.reliability(SST2)
    assert table.groupby("side")["n"].sum().to_dict() == {"zero_shot": N, "fine_tuned": N}
    assert table["predicted"].between(table["low_edge"], table["high_edge"]).all()
    assert (table["low"] <= table["observed"]).all() and (table["observed"] <= table["high"]).all()


def test_calibration_takes_a_constant_preference_out():
    raw, even = (frames.reliability(SST2, calibrated=flag) for flag in (False, True))
    mean = [(t["predicted"] * t["n"])[t["side"] == "zero_shot"].sum() / N for t in (raw, even)]
    assert mean[0] > 0.55 and mean[1] == pytest.approx(0.5, abs=0.02)


def test_a_probability_of_one_falls_into_the_last_bin():
    run = fakes.run("sst2", N)
    run.rows["p_positive"] = 1.0
    assert list(frames.reliability(run)["low_edge"]) == [0.9, 0.9]


def test_confusion_has_an_invalid_column_and_agrees_with_accuracy():
    table = frames.confusion(SST2)
    zero = table[table["side"] == "zero_shot"]
    assert list(dict.fromkeys(zero["predicted"])) == ["negative", "positive", "invalid"]
    assert zero.loc[zero["predicted"] == "invalid", "count"].sum() == 1
    right = zero.loc[zero["gold"] == zero["predicted"], "count"].sum()
    assert right / N == pytest.approx(SST2.metrics()["zero_shot"]["accuracy"])
    assert zero.groupby("gold")["share"].sum().tolist() == pytest.approx([1, 1])


def test_abstention_shares_agree_with_the_abstention_rate():
    table = frames.abstention(SQUAD)
    for side in fakes.SIDES:
        silent = table[(table["side"] == side) & table["abstained"]]["count"].sum()
        assert silent / N == pytest.approx(SQUAD.metrics()[side]["abstention_rate"])
    assert table.groupby(["side", "has_answer"])["share"].sum().tolist() == pytest.approx([1] * 4)


def test_answer_quality_keeps_the_two_kinds_of_question_apart():
    table = frames.answer_quality(SQUAD)
    assert len(table) == 8 and (table["n"] == N / 2).all()
    row = table[(table.side == "fine_tuned") & (table.metric == "f1") & (table.group == "answerable")].iloc[0]
    assert row["value"] == SQUAD.metrics()["fine_tuned"]["has_answer_f1"]
    assert row["low"] < row["value"] < row["high"]


@pytest.mark.parametrize(("run", "first"), [(SST2, "positive"), (SQUAD, "unanswerable")])
def test_histogram_begins_with_the_class_that_should_score_high_and_counts_all(run, first):
    table = frames.score_histogram(run)
    assert table["group"][0] == first
    assert table.groupby("side")["count"].sum().tolist() == [N, N]
    assert table.groupby(["side", "group"])["share"].sum().tolist() == pytest.approx([1] * 4)


# ---- nothing there --------------------

OF_A_RUN = (
    frames.learning_curve, frames.metric_table, frames.flips, frames.item_table, frames.reliability, frames.confusion,
    frames.abstention, frames.answer_quality, frames.score_histogram, frames.weight_grid, frames.top_tensors,
    frames.parameter_table,
)  # fmt: skip


@pytest.mark.parametrize("make", OF_A_RUN, ids=lambda make: make.__name__)
@pytest.mark.parametrize("run", [EMPTY, BROKEN], ids=["empty", "damaged"])
def test_a_run_with_nothing_in_it_gives_an_empty_frame_with_columns(make, run):
    made = make(run)
    assert made.empty and len(made.columns) >= 3


def test_label_frames_are_empty_for_free_text_and_the_other_way_round():
    assert frames.confusion(SQUAD).empty and frames.reliability(SQUAD).empty
    assert frames.abstention(SST2).empty and frames.answer_quality(SST2).empty


def test_a_task_that_is_no_longer_known_still_shows_its_numbers():
    run = fakes.run("sst2", N)
    run.config = run.config.model_copy(update={"task": "gone"})
    assert frames.metric_table(run)["metric"][0] == "accuracy"
    assert set(frames.confusion(run)["predicted"]) == {"0", "1", "invalid"}


@pytest.mark.parametrize("task", ["sst2", "squad_v2"])
def test_a_run_read_from_its_folder_gives_the_same_frames(tmp_path, monkeypatch, task):
    monkeypatch.setenv("LLMFT_RUNS_DIR", str(tmp_path))
    fakes.write_run(tmp_path / "one", task, N)
    run, made = runs.find("one"), fakes.run(task, N)
    for make in OF_A_RUN:
        pd.testing.assert_frame_equal(make(run), make(made), check_dtype=False)
    spectrum = frames.singular_values(run, 5, "v_proj")
    assert np.allclose(spectrum["value"], frames.singular_values(made, 5, "v_proj")["value"])
