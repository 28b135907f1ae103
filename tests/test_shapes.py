"""Shapes with random weights: models in Hub format, the same every time, that the engine loads like any other."""

import pytest
import torch

from llmft_core.bench import shapes
from llmft_core.engine import load

SMALL = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    vocab_size=9000, max_position_embeddings=512,
)  # fmt: skip
KINDS = {"llama": {}, "gemma2": {"sliding_window": 256, "query_pre_attn_scalar": 8}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_shape_loads_in_shards_and_is_the_same_every_time(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "SHARD", 100_000)
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        shapes.write({"model_type": kind} | SMALL | KINDS[kind], folder)
        assert len(list(folder.glob("*.safetensors"))) > 1
        found.append(load.load(str(folder)))
    one, two = (lm.model.state_dict() for lm in found)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert found[0].bears_trees
    assert float(one["model.layers.1.mlp.up_proj.weight"].std()) == pytest.approx(shapes.STD, rel=0.05)


def test_every_id_of_the_vocabulary_can_be_told_apart_and_text_is_cut_as_mini_cuts_it(tmp_path):
    shapes.write({"model_type": "llama"} | SMALL, tmp_path)
    words, mini = load.load(str(tmp_path)).tokenizer, load.load("mini").tokenizer
    added = [words.decode([number]) for number in range(len(mini), 9000)]
    assert len(set(added)) == 9000 - len(mini) and all(added)
    text = "A mill [8500] by the river."
    assert words(text)["input_ids"] == mini(text)["input_ids"]


def test_unknown_shapes_are_named():
    with pytest.raises(ValueError, match="Unknown shape 'huge'"):
        shapes.folder("huge")


@pytest.mark.parametrize("name", shapes.NAMES)
def test_every_shape_has_the_size_in_its_name(name):
    from transformers import AutoConfig

    config = AutoConfig.for_model(**shapes.SHAPES[name], tie_word_embeddings=True)
    elements = 0
    for shard in shapes.shapes_of(config):
        elements += sum(torch.Size(shape).numel() for shape in shard.values())
    assert elements == {"smollm2": 134_515_008, "llama": 1_235_814_400, "gemma": 2_614_341_888}[name.split("-")[0]]
