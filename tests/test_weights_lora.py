"""LoRA changes: exact against the dense product and peft's own delta, whatever the scaling; cosines of adapters."""

import numpy as np
import pytest
import torch
from peft import PeftModel
from weight_folders import merged, opened, with_adapter

from llmft_core.engine import weights, weights_files


def test_lora_equals_peft_s_own_delta_by_dense_svd(pair):
    base, adapter, _ = pair
    rows = weights.lora_changes(base, adapter).set_index("tensor")
    assert len(rows) == 2 * 7 and set(rows["kind"]) == {"lora"}
    for name, module in PeftModel.from_pretrained(opened(base), adapter).named_modules():
        if "default" in getattr(module, "lora_A", {}):
            row = rows.loc[name.removeprefix("base_model.model.") + ".weight"]
            delta, before = module.get_delta_weight("default").double(), module.get_base_layer().weight.double()
            values = torch.linalg.svdvals(delta)
            cosine = torch.cosine_similarity(before.flatten(), (before + delta).flatten(), dim=0)
            wanted = {
                "base_norm": before.norm(), "change_norm": delta.norm(), "one_minus_cosine": 1 - cosine,
                "relative_change": delta.norm() / before.norm(), "largest_change": delta.abs().max(),
                "spectral_norm": values[0], "stable_rank": delta.square().sum() / values[0] ** 2,
            }  # fmt: skip
            for column, value in wanted.items():
                assert row[column] == pytest.approx(float(value.detach()), rel=1e-5), column
            assert row["singular_values"] == pytest.approx(values[:4].tolist(), rel=1e-5)


def test_lora_equals_the_merged_model_read_as_a_full_fine_tune(pair):
    base, adapter, tuned = pair
    lora = weights.lora_changes(base, adapter).set_index("tensor")
    full = weights.full_changes(base, tuned).set_index("tensor")
    assert (full.drop(lora.index)["change_norm"] == 0).all()
    full = full.loc[lora.index]
    for column in (
        "parameters",
        "base_norm",
        "change_norm",
        "relative_change",
        "spectral_norm",
        "stable_rank",
        "largest_change",
    ):
        np.testing.assert_allclose(lora[column], full[column], rtol=1e-5, err_msg=column)
    np.testing.assert_allclose(lora["one_minus_cosine"], full["one_minus_cosine"], rtol=1e-4)
    for exact, dense in zip(lora["singular_values"], full["singular_values"], strict=True):
        assert exact == pytest.approx(dense[:4], rel=1e-5)
        assert max(dense[4:]) < 1e-5 * dense[0]


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 3}}, {"rank_pattern": {r"layers\.1\..*q_proj": 2}},
     {"target_modules": ["embed_tokens"]}, {"target_modules": "all-linear", "use_rslora": True}],
    ids=["plain", "rslora", "alpha-pattern", "rank-pattern", "embedding", "all-rslora"],
)  # fmt: skip
def test_scale_and_layout_are_those_of_peft(llama, tmp_path, settings):
    model = with_adapter(llama, tmp_path / "adapter", **settings)
    rows = weights.lora_changes(llama, tmp_path / "adapter").set_index("tensor")
    checked = 0
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            row = rows.loc[name.removeprefix("base_model.model.") + ".weight"]
            delta = module.get_delta_weight("default").detach()
            assert row["change_norm"] == pytest.approx(float(delta.norm()), rel=1e-5)
            assert row["largest_change"] == pytest.approx(float(delta.abs().max()), rel=1e-5)
            checked += 1
    assert checked == len(rows) > 0


def test_tensor_trained_whole_beside_the_factors_is_a_full_change(llama, tmp_path):
    model = with_adapter(llama, tmp_path / "fresh", modules_to_save=["norm"])
    with torch.no_grad():
        model.get_submodule("base_model.model.model.norm.modules_to_save.default").weight[3] += 0.5
    model.save_pretrained(tmp_path / "adapter")
    row = weights.lora_changes(llama, tmp_path / "adapter").set_index("tensor").loc["model.norm.weight"]
    assert (row["kind"], row["layer"]) == ("full", -1)
    assert row["change_norm"] == pytest.approx(0.5) and row["share_changed"] == pytest.approx(1 / 32)


def test_empty_adapter_changes_nothing_and_says_so(llama, tmp_path):
    with_adapter(llama, tmp_path / "fresh", b_std=0.0)
    changes = weights.lora_changes(llama, tmp_path / "fresh")
    assert (changes[["relative_change", "share_changed", "spectral_norm"]] == 0).all(axis=None)
    assert changes["stable_rank"].isna().all()
    assert weights.nothing_changed(changes).startswith("Nothing changed:")


def test_base_in_shards_is_read_like_one_file(pair, tmp_path):
    base, adapter, _ = pair
    opened(base).save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert weights.lora_changes(tmp_path / "shards", adapter).equals(weights.lora_changes(base, adapter))


def test_task_vectors_of_adapters_have_the_cosine_of_their_merged_models(llama, tmp_path, monkeypatch):
    torch.manual_seed(0)
    wide = with_adapter(llama, tmp_path / "wide", target_modules=["q_proj", "v_proj"])
    for name, parameter in wide.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.2
    wide.save_pretrained(tmp_path / "wide")
    with_adapter(llama, tmp_path / "narrow", r=3, use_rslora=True, target_modules=["v_proj", "up_proj"])
    folders = {name: tmp_path / name for name in ("wide", "narrow")}
    dense = {name: merged(llama, folder, tmp_path / f"{name}-merged") for name, folder in folders.items()}
    wanted = weights.task_vector_cosine(llama, dense["wide"], dense["narrow"])
    assert 1e-3 < abs(wanted) < 0.9
    monkeypatch.setattr(weights_files, "BLOCK", 100)
    for one, other in ((folders, folders), (folders, dense), (dense, folders)):
        found = weights.task_vector_cosine(llama, one["wide"], other["narrow"])
        assert found == pytest.approx(wanted, abs=1e-5)
    assert weights.task_vector_cosine(llama, folders["wide"], dense["wide"]) == pytest.approx(1, abs=1e-5)
