"""Weight changes of two models: norms, spectra, rounding, tied weights, shards, cells, and task vectors."""

import math

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from weight_folders import edited, noise, one_tensor, opened

from llmft_core import api
from llmft_core.engine import weights, weights_files, weights_measure

COLUMNS = [
    "tensor", "layer", "module", "parameters", "base_norm", "change_norm", "relative_change", "one_minus_cosine",
    "share_changed", "largest_change", "stable_rank", "spectral_norm", "singular_values", "kind", "noise_floor",
]  # fmt: skip
UP = "model.layers.1.mlp.up_proj.weight"


def test_columns_are_those_of_weights_parquet_and_survive_it(pair, tmp_path):
    base, adapter, tuned = pair
    for rows in (weights.lora_changes(base, adapter), weights.full_changes(base, tuned)):
        assert list(rows.columns) == COLUMNS
        assert rows["tensor"].is_unique
        rows.to_parquet(tmp_path / "weights.parquet", index=False)


def test_random_rank_8_change_has_stable_rank_6_and_dense_noise_a_high_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(2048, 512, generator=generator)
    low = torch.randn(2048, 8, generator=generator) @ torch.randn(8, 512, generator=generator)
    base = one_tensor(tmp_path / "base", before)
    for name, change, (least, most) in (("low", low, (5, 7)), ("dense", torch.randn(2048, 512), (220, 235))):
        change *= 0.3 * before.norm() / change.norm()
        row = weights.full_changes(base, one_tensor(tmp_path / name, before + change)).iloc[0]
        assert row["relative_change"] == pytest.approx(0.3, rel=1e-4)
        assert least < row["stable_rank"] < most  # (1 + sqrt(512 / 2048))^2 of 512 columns gives 228


@pytest.mark.parametrize("shape", [(1200, 700), (300, 2500), (1030, 1030)])
def test_estimated_singular_values_are_near_the_exact_ones_and_never_above(shape):
    generator = torch.Generator().manual_seed(0)
    values = torch.linalg.svdvals(matrix := torch.randn(shape, generator=generator))
    norm, top = weights_measure.spectrum(matrix)
    assert 0.98 * values[0] < norm <= values[0] * (1 + 1e-5)
    if matrix.numel() >= weights_measure.SEVERAL_BELOW:
        assert top == []
    else:
        assert len(top) == 16 and all(
            0.94 * v < t <= v * (1 + 1e-5) for t, v in zip(top, values.tolist(), strict=False)
        )
    low = matrix[:, :3] @ torch.randn(3, shape[1], generator=generator)  # the search runs out of directions after three
    exact = torch.linalg.svdvals(low)
    norm, top = weights_measure.spectrum(low)
    assert norm == pytest.approx(float(exact[0]), rel=1e-5)
    assert top[:3] == pytest.approx(exact[:3].tolist()[: len(top)], rel=1e-5) and all(t < 1e-2 * norm for t in top[3:])


@pytest.mark.parametrize("shape", [(1200, 700), (1200, 1000)])
def test_estimate_of_a_change_in_one_entry_is_exact(shape):
    matrix = torch.zeros(shape)
    matrix[3, 5] = -0.25
    norm, top = weights_measure.spectrum(matrix)
    assert norm == pytest.approx(0.25, rel=1e-5) and sum(top[1:]) < 1e-4


def test_spectrum_can_be_left_out(pair):
    base, _, tuned = pair
    slow, quick = (weights.full_changes(base, tuned, spectral=spectral) for spectral in (True, False))
    assert quick["spectral_norm"].isna().all() and quick["stable_rank"].isna().all()
    assert slow["stable_rank"].notna().sum() == 2 * 7
    same = ["change_norm", "one_minus_cosine", "share_changed", "largest_change"]
    np.testing.assert_array_equal(slow[same], quick[same])


def test_blocks_change_nothing(pair, monkeypatch):
    base, adapter, tuned = pair
    whole = weights.full_changes(base, tuned), weights.lora_changes(base, adapter)
    monkeypatch.setattr(weights_files, "BLOCK", 100)
    monkeypatch.setattr(weights_measure, "ROWS_AT_ONCE", 100)
    for rows, before in zip(
        (weights.full_changes(base, tuned), weights.lora_changes(base, adapter)), whole, strict=True
    ):
        for column in ("base_norm", "change_norm", "largest_change", "share_changed", "spectral_norm"):
            np.testing.assert_allclose(rows[column], before[column], rtol=1e-5)


def test_one_changed_entry_is_one_changed_entry(llama, tmp_path):
    def edit(tensors):
        tensors[UP][3, 5] -= 2.0

    changes = weights.full_changes(llama, edited(llama, tmp_path / "tuned", edit))
    moved = changes[changes["change_norm"] > 0]
    assert list(moved["tensor"]) == [UP]
    row = moved.iloc[0]
    assert row["largest_change"] == pytest.approx(2, rel=1e-5) and row["stable_rank"] == pytest.approx(1, rel=1e-5)
    assert row["share_changed"] * row["parameters"] == pytest.approx(1)
    assert (row["layer"], row["module"]) == (1, "up_proj")
    assert weights.nothing_changed(changes) is None


def test_nothing_changed_is_said(llama):
    changes = weights.full_changes(llama, llama)
    assert (changes[["relative_change", "share_changed", "largest_change"]] == 0).all(axis=None)
    assert changes["stable_rank"].isna().all()
    assert weights.nothing_changed(changes).startswith("Nothing changed:")


def test_weights_that_are_no_numbers_are_said(llama, tmp_path):
    def edit(tensors):
        tensors[UP][0, 0] = math.nan

    changes = weights.full_changes(llama, edited(llama, tmp_path / "tuned", edit))
    assert UP in weights.nothing_changed(changes) and "diverged" in weights.nothing_changed(changes)


def test_rounding_to_bf16_alone_is_the_noise_floor_and_no_change(tmp_path):
    base = tiny.llama(tmp_path / "base", hidden_size=128, intermediate_size=512)
    opened(base, torch.bfloat16).save_pretrained(tmp_path / "rounded")
    changes = weights.full_changes(base, tmp_path / "rounded")
    large = changes.query("parameters > 10000")
    np.testing.assert_allclose(large["noise_floor"], 1.66e-3, rtol=0.02)
    np.testing.assert_allclose(large["noise_floor"], large["relative_change"], rtol=1e-6)
    assert "rounding" in weights.nothing_changed(changes)
    back = weights.full_changes(tmp_path / "rounded", base)  # bf16 fits into float32: nothing is rounded this way
    assert (back["noise_floor"] == 0).all() and weights.nothing_changed(back) is None
    assert (weights.full_changes(base, base)["noise_floor"] == 0).all()


def test_bf16_changes_are_counted_exactly(tmp_path):
    before = torch.randn(64, 96, generator=torch.Generator().manual_seed(0)).bfloat16()
    after = before.clone()
    after[5, :7] *= 2
    rows = weights.full_changes(one_tensor(tmp_path / "base", before), one_tensor(tmp_path / "tuned", after))
    assert rows.loc[0, "share_changed"] == pytest.approx(7 / before.numel())
    assert rows.loc[0, "change_norm"] == pytest.approx(float(before[5, :7].double().norm()), rel=1e-6)


def test_tied_embeddings_count_once(tmp_path, llama):
    loose = tiny.llama(tmp_path / "loose", tie_word_embeddings=False)
    counts = weights.parameter_counts(llama)
    assert counts["total"] == sum(counts["by_module"].values()) == opened(llama).num_parameters()
    assert weights.parameter_counts(loose)["total"] - counts["total"] == counts["by_module"]["embed_tokens"]

    def store_twice(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    twice = edited(llama, tmp_path / "twice", store_twice)
    assert weights.parameter_counts(twice) == counts
    for one, other in ((twice, twice), (llama, twice), (twice, llama)):
        names = weights.full_changes(one, other)["tensor"]
        assert sum("embed" in name or "lm_head" in name for name in names) == 1


def test_gemma2_ties_its_embeddings(tmp_path):
    base = tiny.gemma2(tmp_path / "gemma")
    assert weights.parameter_counts(base)["total"] == opened(base).num_parameters()


def test_shards_are_read_like_one_file(pair, tmp_path):
    base, _, tuned = pair
    opened(base).save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert weights.full_changes(tmp_path / "shards", tuned).equals(weights.full_changes(base, tuned))
    assert weights.parameter_counts(tmp_path / "shards") == weights.parameter_counts(base)


def test_cells_add_up_like_one_tensor(pair):
    base, _, tuned = pair
    changes = weights.full_changes(base, tuned)
    cells = weights.summarise(changes).set_index(["layer", "module"])
    assert cells["parameters"].sum() == changes["parameters"].sum()
    assert len(cells) == len(changes) and (cells["tensors"] == 1).all()
    one = weights.summarise(changes.assign(layer=0, module="all")).iloc[0]
    assert one["relative_change"] == pytest.approx(
        math.hypot(*changes["change_norm"]) / math.hypot(*changes["base_norm"]), rel=1e-12
    )
    assert one["tensors"] == len(changes)


def test_task_vectors_of_models_have_the_cosine_of_their_differences(llama, tmp_path):
    a, b = edited(llama, tmp_path / "a", noise(1)), edited(llama, tmp_path / "b", noise(2))
    sides = [load_file(folder / "model.safetensors") for folder in (llama, a, b)]
    x, y = (torch.cat([(side[n] - sides[0][n]).flatten() for n in side]).double() for side in sides[1:])
    wanted = float(torch.cosine_similarity(x, y, dim=0))
    assert weights.task_vector_cosine(llama, a, b) == pytest.approx(wanted, abs=1e-6)
    assert weights.task_vector_cosine(llama, a, a) == pytest.approx(1, abs=1e-6)
    assert math.isnan(weights.task_vector_cosine(llama, a, llama))


def test_tiny_angles_keep_their_digits():
    angle = 1e-7
    assert weights_measure.one_minus_cosine(1.0, math.tan(angle) ** 2, 0.0) == pytest.approx(
        angle**2 / 2, rel=1e-6, abs=0
    )
    assert weights_measure.one_minus_cosine(1.0, 4.0, -2.0) == pytest.approx(2)  # turned round


def test_cores_are_given_back_also_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert weights_files.in_parallel(lambda job: (job, torch.get_num_threads()), [5, 4]) == [(5, 1), (4, 1)]
        with pytest.raises(ZeroDivisionError):
            weights_files.in_parallel(lambda job: 1 / job, [1, 0])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_figures_that_do_not_exist_are_numbers_for_whoever_asks_the_api():
    table = api.weight_changes(base="mini", tuned="mini")
    assert table["stable_rank"].isna().all() and table["stable_rank"].dtype == float
    assert (table["change_norm"] == 0).all() and table["layer"].dtype == int and table["tensor"].is_unique
