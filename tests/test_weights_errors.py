"""Folders that cannot be compared: each says in one sentence what is wrong with which of them."""

import json
import shutil

import pytest
import tiny
from safetensors.torch import load_file, save_file

from llmft_core.engine import weights

MODEL, ADAPTER = "model.safetensors", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    base = tiny.llama(root / "base")
    return base, tiny.adapter(base, root / "adapter")


@pytest.fixture
def folders(made, tmp_path):
    """Copies of a model and an adapter, to be spoilt."""
    return tuple(shutil.copytree(folder, tmp_path / folder.name) for folder in made)


def refused(compare, *folders) -> str:
    with pytest.raises(ValueError) as error:
        compare(*folders)
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and ": " in text
    return text


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def test_folder_that_is_not_there_or_no_model(made, tmp_path):
    base, adapter = made
    assert "no folder" in refused(weights.full_changes, tmp_path / "nowhere", base)
    assert "no model.safetensors" in refused(weights.full_changes, base, adapter)
    assert "no model.safetensors" in refused(weights.parameter_counts, tmp_path)
    assert "no adapter_config.json" in refused(weights.lora_changes, base, base)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert "pickled" in refused(weights.parameter_counts, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"version https://git-lfs.github.com/spec/v1\n", None])
def test_damaged_files(folders, made, content):
    for folder, name, compare in (
        (folders[0], MODEL, weights.full_changes),
        (folders[1], ADAPTER, weights.lora_changes),
    ):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-10] if content is None else content)  # None: the download broke off
        assert "damaged" in refused(compare, made[0], folder)


def test_damaged_settings_and_index(folders, made):
    base, adapter = folders
    (adapter / "adapter_config.json").write_text("[1]")
    assert "damaged" in refused(weights.lora_changes, made[0], adapter)
    index = base / "model.safetensors.index.json"
    (base / MODEL).rename(base / "part.safetensors")
    for text, wrong in (
        ("{", "damaged"), ('{"weight_map": []}', "names no tensors"),
        ('{"weight_map": {"a": 1}}', "no safetensors file"),
        ('{"weight_map": {"a": "../part.safetensors"}}', "no safetensors file"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "no file"),
        ('{"weight_map": {"a": "part.safetensors"}}', "lacks a"),
    ):  # fmt: skip
        index.write_text(text)
        assert wrong in refused(weights.parameter_counts, base)


def test_another_architecture_names_what_is_missing(made, tmp_path):
    base, _ = made
    shallow = tiny.llama(tmp_path / "shallow", num_hidden_layers=1)
    for one, other in ((base, shallow), (shallow, base)):
        assert "model.layers.1.input_layernorm.weight (and 8 more)" in refused(weights.full_changes, one, other)
    wide = tiny.llama(tmp_path / "wide", intermediate_size=96)
    assert "[32, 64] in the base and [32, 96]" in refused(weights.full_changes, base, wide)
    assert "Only" in refused(weights.task_vector_cosine, base, base, shallow)


def test_adapter_of_another_model(made, tmp_path):
    _, adapter = made
    wide = tiny.llama(tmp_path / "wide", intermediate_size=96)
    assert "another model" in refused(weights.lora_changes, wide, adapter)
    shallow = tiny.llama(tmp_path / "shallow", num_hidden_layers=1)
    assert "which the base has not" in refused(weights.lora_changes, shallow, adapter)
    assert "another model" in refused(weights.task_vector_cosine, wide, adapter, adapter)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [({"r": 8}, "rank"), ({"lora_alpha": None}, "lora_alpha"), ({"r": "four"}, "r = 'four'"),
     ({"use_dora": True}, "DoRA"), ({"peft_type": "IA3"}, "IA3"), ({"init_lora_weights": "pissa_niter_4"}, "pissa")],
)  # fmt: skip
def test_adapter_that_is_not_plain_lora(folders, changes, wrong):
    base, adapter = folders
    edit_json(adapter / "adapter_config.json", **changes)
    assert wrong in refused(weights.lora_changes, base, adapter)


def test_adapter_with_parts_missing(folders):
    base, adapter = folders
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    edit_tensors(adapter / ADAPTER, lambda tensors: tensors.pop(first + "B.weight"))
    assert "do not fit together" in refused(weights.lora_changes, base, adapter)
    edit_tensors(adapter / ADAPTER, lambda tensors: tensors.update({first + "magnitude_vector": tensors.popitem()[1]}))
    assert "more than plain LoRA" in refused(weights.lora_changes, base, adapter)
    edit_tensors(adapter / ADAPTER, lambda tensors: tensors.clear())
    assert "no LoRA tensors" in refused(weights.lora_changes, base, adapter)
    (adapter / ADAPTER).unlink()
    assert "no adapter_model.safetensors" in refused(weights.lora_changes, base, adapter)


def test_quantised_weights(folders):
    base, _ = folders
    edit_json(base / "config.json", quantization_config={"bits": 4})
    assert "quantised" in refused(weights.parameter_counts, base)
