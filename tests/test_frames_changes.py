"""Frames of the weights: where they moved, cell by cell and tensor by tensor."""

import fakes
import pytest

from llmft_core import frames

N = 20
SST2, EMPTY = fakes.run("sst2", N), fakes.empty_run()


def test_weight_grid_has_the_modules_that_moved_in_the_order_of_the_computation():
    grid = frames.weight_grid(SST2)
    assert list(dict.fromkeys(grid["short"])) == ["q", "k", "v", "o", "gate", "up", "down"]
    assert len(grid) == 6 * 7 and (grid["layer"] >= 0).all()
    merged = grid.merge(SST2.weights(), on="tensor")
    assert merged["relative_change_x"].to_numpy() == pytest.approx(merged["relative_change_y"].to_numpy())


def test_norms_that_moved_share_one_cell_and_the_cell_can_be_asked():
    grid = frames.weight_grid(fakes.run(method="full"))
    assert list(dict.fromkeys(grid["short"]))[-1] == "norms"
    assert frames.tensor_facts(fakes.run(method="full"), 0, "norms")


def test_when_nothing_moved_the_grid_is_whole_and_it_is_said():
    run = fakes.run("sst2", N)
    run.tensors[["change_norm", "relative_change"]] = 0.0
    assert len(frames.weight_grid(run)) == 6 * 8
    assert frames.has_moved(run) is False and frames.top_tensors(run).empty
    assert frames.has_moved(SST2) is True and frames.has_moved(EMPTY) is None


def test_movement_below_the_rounding_floor_is_no_movement_and_an_unknown_floor_is_none():
    run = fakes.run("sst2", N)
    run.tensors["noise_floor"] = float("nan")
    assert frames.has_moved(run) is True
    run.tensors["noise_floor"] = 1.0
    assert frames.has_moved(run) is False


def test_top_tensors_are_sorted_and_as_many_as_asked_for():
    table = frames.top_tensors(SST2, 5)
    assert len(table) == 5 and table["relative_change"].is_monotonic_decreasing
    assert table["relative_change"][0] == SST2.weights()["relative_change"].max()
    assert (frames.top_tensors(SST2, 999)["relative_change"] > 0).all()


def test_panel_of_a_cell_names_only_what_is_known():
    facts = dict(frames.tensor_facts(SST2, 5, "v_proj"))
    assert facts["Relative change"].endswith(" %") and facts["Stable rank"] == "1.6 of 16"
    assert "Rounding alone" not in facts
    assert frames.tensor_facts(SST2, 99, "v_proj") == []
    still = frames.tensor_facts(SST2, 0, "norms")
    assert "Stable rank" not in dict(still) and not any("nan" in said for _, said in still)


def test_singular_values_fall_and_their_shares_add_up_to_one_at_most():
    table = frames.singular_values(SST2, 5, "v_proj")
    assert list(table["rank"]) == list(range(1, 17)) and table["value"].is_monotonic_decreasing
    assert frames.singular_values(SST2, 0, "norms").empty


def test_parameter_table_counts_what_was_trained():
    table = frames.parameter_table(SST2).set_index("what")
    assert table.loc["Trained in the adapter"].tolist() == ["0", "294,912", "5.6 %"]
    assert table.loc["Compared tensors that moved"].tolist() == ["0 of 50", "42 of 50", "84 %"]
    assert "Trained" in set(frames.parameter_table(fakes.run(method="full"))["what"])
