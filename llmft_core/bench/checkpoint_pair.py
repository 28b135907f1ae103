"""Made on the spot, in a child: what stands for the fine-tuned self of a model, and a LoRA adapter for it.

No model is built: tensors go from file to file, one shard per layer. Seeded: the same base gives the same bytes.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from llmft_core import files
from llmft_core.engine import weights_files
from llmft_core.engine.weights_files import Stored

NOISE, FACTOR_STD, RANK = 2e-4, 0.02, 16


def make(request: dict) -> tuple[float, int, dict, dict]:
    """A side that makes tuned/ and adapter/ in `folder` for the model in `base`, and times nothing.

    Every tensor of tuned/ is that of the base; those of the upper half of the layers get noise, 1 % of a random weight.
    Raises ValueError if the disk has no room.
    """
    base, folder = Path(request["base"]), Path(request["folder"])
    stored = weights_files.tensors(base)
    _check_room(folder, sum(one.size * one.dtype.itemsize for one in stored.values()))
    _write_tuned(folder / "tuned", base, stored)
    _write_adapter(folder / "adapter", stored)
    return 0.0, len(stored), None, {}


def make_adapter(request: dict) -> tuple[float, int, dict, dict]:
    """A side that makes adapter/ alone, and times nothing."""
    stored = weights_files.tensors(Path(request["base"]))
    _write_adapter(Path(request["folder"]) / "adapter", stored)
    return 0.0, len(stored), None, {}


def _random(shape, std: float, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(std)


def _write_tuned(folder: Path, base: Path, stored: dict[str, Stored]) -> None:
    """A model in Hub format; its tensors are made when their shard is written."""
    folder.mkdir()
    layers: dict[int, list[str]] = {}
    for name in stored:
        layers.setdefault(weights_files.place(name)[0], []).append(name)
    index, seeds = {}, {name: seed for seed, name in enumerate(stored)}
    for layer, names in layers.items():
        shard, is_noisy = f"model-{layer + 1:05d}.safetensors", layer > max(layers) // 2
        made = {name: _tuned(stored[name], seeds[name] if is_noisy else None) for name in names}
        save_file(made, folder / shard, metadata={"format": "pt"})
        index |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(files.to_json({"metadata": {}, "weight_map": index}))
    shutil.copy(base / "config.json", folder)


def _tuned(stored: Stored, seed: int | None) -> torch.Tensor:
    """The tensor as it is, or with noise."""
    tensor = torch.empty(stored.matrix, dtype=stored.dtype)
    first = 0
    for block in weights_files.raw_blocks(stored):
        tensor[first : first + len(block)] = block
        first += len(block)
    if seed is not None:
        tensor = (tensor.float() + _random(stored.matrix, NOISE, seed)).to(stored.dtype)
    return tensor.view(stored.shape)


def _write_adapter(folder: Path, stored: dict[str, Stored]) -> None:
    """LoRA of rank 16 with random factors on every matrix of the layers."""
    targets = [name for name, one in stored.items() if weights_files.place(name)[0] >= 0 and len(one.shape) == 2]
    factors = {}
    for seed, name in enumerate(targets):
        rows, columns = stored[name].shape
        module = f"base_model.model.{name.removesuffix('.weight')}"
        factors[f"{module}.lora_A.weight"] = _random((RANK, columns), FACTOR_STD, 1_000_000 + seed)
        factors[f"{module}.lora_B.weight"] = _random((rows, RANK), FACTOR_STD, 2_000_000 + seed)
    folder.mkdir()
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = sorted({weights_files.place(name)[1] for name in targets})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": modules, "r": RANK}
    config |= {"lora_alpha": 2 * RANK, "base_model_name_or_path": None}
    (folder / "adapter_config.json").write_text(files.to_json(config))


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 1.1 * needed:
        sizes = f"{needed / 1e9:.1f} GB of checkpoints, {free / 1e9:.1f} GB are free"
        raise ValueError(f"{folder} has no room for {sizes}: set TMPDIR to a folder on a larger disk.")
