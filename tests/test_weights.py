"""Weight changes: LoRA exact against the dense product, full streamed, tied once, rounding known, bad folders named."""

import math

import pytest
import tiny
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmft_core.engine import weights
from llmft_core.engine.weights_lora import lora_row


@pytest.fixture(params=["llama", "gemma2"])
def pair(request, tmp_path):
    base = getattr(tiny, request.param)(tmp_path / "base")
    return base, tiny.adapter(base, tmp_path / "adapter")


def merged(base, adapter, out):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    return out


def test_lora_equals_the_dense_difference(pair, tmp_path):
    base, adapter = pair
    exact = weights.lora_changes(base, adapter).set_index("tensor")
    dense = weights.full_changes(base, merged(base, adapter, tmp_path / "merged")).set_index("tensor").loc[exact.index]
    for column in ("base_norm", "change_norm", "relative_change", "spectral_norm", "stable_rank", "largest_change"):
        torch.testing.assert_close(
            torch.tensor(exact[column].to_numpy()), torch.tensor(dense[column].to_numpy()), rtol=2e-4, atol=1e-6
        )
    gap = (exact["one_minus_cosine"] - dense["one_minus_cosine"]).abs() / dense["one_minus_cosine"]
    assert gap.max() < 1e-3
    for one, other in zip(exact["singular_values"], dense["singular_values"], strict=True):
        assert one == pytest.approx(other[: len(one)], rel=1e-3)


@pytest.mark.parametrize("changes", [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 3}}, {"rank_pattern": {"q_proj": 2}}])
def test_scale_is_that_of_peft(tmp_path, changes):
    base = tiny.llama(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=7, target_modules=["q_proj"], **changes))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "adapter")
    rows = weights.lora_changes(base, tmp_path / "adapter").set_index("tensor")
    for name, module in model.named_modules():
        if name.endswith("q_proj"):
            key = name.removeprefix("base_model.model.") + ".weight"
            assert rows.loc[key, "change_norm"] == pytest.approx(float(module.get_delta_weight("default").norm()), rel=1e-4)


def test_low_rank_and_dense_noise_have_the_stable_rank_that_theory_gives():
    torch.manual_seed(0)
    base = torch.randn(512, 512)
    row = lora_row(base, torch.randn(8, 512), torch.randn(512, 8), 0.01)
    assert 5 < row["stable_rank"] < 7.9
    assert row["share_changed"] == 1.0


def test_nothing_changed_is_said(tmp_path):
    base = tiny.llama(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path / "fresh")
    for changes in (weights.lora_changes(base, tmp_path / "fresh"), weights.full_changes(base, base)):
        assert (changes["relative_change"] == 0).all() and (changes["stable_rank"] == 0).all()
        assert "Nothing changed" in weights.nothing_changed(changes)


def test_one_changed_entry_is_one_changed_entry(tmp_path):
    base = tiny.llama(tmp_path / "base")
    tuned = tiny.llama(tmp_path / "tuned")
    tensors = load_file(tuned / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 5] += 2.0
    save_file(tensors, tuned / "model.safetensors", metadata={"format": "pt"})
    changes = weights.full_changes(base, tuned)
    moved = changes[changes["change_norm"] > 0]
    assert list(moved["tensor"]) == [name]
    row = moved.iloc[0]
    assert row["largest_change"] == pytest.approx(2, rel=1e-5) and row["stable_rank"] == pytest.approx(1, rel=1e-4)
    assert row["share_changed"] * row["parameters"] == pytest.approx(1)
    assert (row["layer"], row["module"]) == (1, "up_proj")
    assert weights.nothing_changed(changes) is None


def test_rounding_to_bf16_alone_is_the_noise_floor(tmp_path):
    base = tiny.llama(tmp_path / "base", hidden_size=128, intermediate_size=512)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(tmp_path / "rounded")
    changes = weights.full_changes(base, tmp_path / "rounded").query("parameters > 10000")
    assert changes["relative_change"].to_numpy() == pytest.approx(1.66e-3, rel=0.05)
    assert changes["noise_floor"].to_numpy() == pytest.approx(changes["relative_change"].to_numpy(), rel=1e-6)


def test_tied_embeddings_count_once(tmp_path):
    tied = tiny.llama(tmp_path / "tied")
    loose = tiny.llama(tmp_path / "loose", tie_word_embeddings=False)
    embeddings = weights.parameter_counts(tied)["by_module"]["embed_tokens"]
    assert weights.parameter_counts(loose)["total"] - weights.parameter_counts(tied)["total"] == embeddings
    model = AutoModelForCausalLM.from_pretrained(tied)
    assert weights.parameter_counts(tied)["total"] == model.num_parameters()
    assert sum("embed" in name or "lm_head" in name for name in weights.full_changes(tied, tied)["tensor"]) == 1


def test_shards_are_read_like_one_file(tmp_path, pair):
    base, adapter = pair
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert weights.lora_changes(tmp_path / "shards", adapter).equals(weights.lora_changes(base, adapter))


def test_layers_and_modules_add_up(pair):
    changes = weights.lora_changes(*pair)
    table = weights.summarise(changes)
    assert len(table) == 2 * 7 and table["parameters"].sum() == changes["parameters"].sum()
    assert set(table["layer"]) == {0, 1}


def test_cosine_of_task_vectors(pair, tmp_path):
    base, adapter = pair
    assert weights.task_vector_cosine(base, adapter, adapter) == pytest.approx(1, abs=1e-5)
    tuned = merged(base, adapter, tmp_path / "merged")
    assert weights.task_vector_cosine(base, tuned, tuned) == pytest.approx(1, abs=1e-5)
    tensors = load_file(adapter / "adapter_model.safetensors")
    (tmp_path / "turned").mkdir()
    save_file({n: -t if "lora_B" in n else t for n, t in tensors.items()}, tmp_path / "turned" / "adapter_model.safetensors")
    (tmp_path / "turned" / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    assert weights.task_vector_cosine(base, adapter, tmp_path / "turned") == pytest.approx(-1, abs=1e-5)


def test_tiny_angles_keep_their_digits():
    from llmft_core.engine.weights_lora import one_minus_cosine

    angle = 1e-7
    base, change = 1.0, math.tan(angle) ** 2
    assert one_minus_cosine(base, 0.0, change) == pytest.approx(angle**2 / 2, rel=1e-6)


def test_folders_that_cannot_be_compared_are_named(tmp_path, pair):
    base, adapter = pair
    with pytest.raises(ValueError, match="no model"):
        weights.full_changes(tmp_path, base)
    with pytest.raises(ValueError, match="no LoRA adapter"):
        weights.lora_changes(base, base)
    other = tiny.llama(tmp_path / "other", num_hidden_layers=1)
    with pytest.raises(ValueError, match="has no tensor|does not have"):
        weights.full_changes(base, other)
    wider = tiny.llama(tmp_path / "wider", intermediate_size=96)
    with pytest.raises(ValueError, match="shape|does not have"):
        weights.lora_changes(wider, adapter)
    damaged = tiny.llama(tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="damaged"):
        weights.full_changes(base, damaged)
