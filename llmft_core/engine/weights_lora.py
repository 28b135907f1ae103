"""What a LoRA adapter does to the weights, exactly, without forming the whole of BA."""

import math
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from llmft_core.engine import weights_files, weights_measure
from llmft_core.engine.weights_files import Stored
from llmft_core.engine.weights_measure import Sums

FACTOR = re.compile(r"^(?:base_model\.model\.)?(.+)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?$")
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # initialisations that take something off the base first


class LowRank(NamedTuple):
    """A change dW = left @ right, [rows, rank] @ [rank, columns], in float64 with the scaling inside."""

    left: torch.Tensor
    right: torch.Tensor

    @classmethod
    def zero(cls, shape: tuple[int, int]) -> "LowRank":
        return cls(torch.zeros(shape[0], 1, dtype=torch.float64), torch.zeros(1, shape[1], dtype=torch.float64))

    def singular_values(self) -> torch.Tensor:
        """All of them, largest first: left = QR and right^T = PS, so those of the small R S^T."""
        core = torch.linalg.qr(self.left, mode="r")[1] @ torch.linalg.qr(self.right.T, mode="r")[1].T
        return torch.linalg.svdvals(core) if core.isfinite().all() else torch.full((1,), math.nan)

    def inner(self, other: "LowRank") -> float:
        """<X, Y> by way of rank x rank numbers."""
        return float(((self.left.T @ other.left) * (self.right @ other.right.T)).sum())


class Touched(NamedTuple):
    """A base tensor and its change: two factors, or the tensor that training made of it."""

    base: Stored
    change: LowRank | Stored


def is_adapter(folder: Path) -> bool:
    return (Path(folder) / "adapter_config.json").is_file()


def lora_changes(base_folder: Path, adapter_folder: Path) -> pd.DataFrame:
    """One row per tensor that the adapter touches, in the columns of weights.parquet; exact.

    Singular values come from QR of both factors and an SVD of rank x rank numbers, in float64; the Frobenius norm is
    the root of their sum of squares. <W0, BA> and the largest entry are taken block by block while W0 streams by, so
    memory stays bounded. `share_changed` is 1.0 wherever the change is not zero: nobody looks for entries of a product
    that are exactly zero. A tensor that was trained whole beside the factors (peft's modules_to_save) has kind "full".
    `noise_floor` is 0, since an adapter does not round the base again.
    Raises ValueError if a file is missing or damaged, the adapter is no plain LoRA, or was made for another model.
    """
    parts = touched(base_folder, adapter_folder)
    rows = weights_files.in_parallel(lambda name: _row(name, *parts[name]), weights_measure.largest_first(parts))
    return weights_measure.frame(rows)


def _row(name: str, base: Stored, change: LowRank | Stored) -> dict:
    if isinstance(change, Stored):
        return weights_measure.row(name, "full", base.size, weights_measure.difference(base, change, spectral=True))
    sums, values = Sums(), change.singular_values()
    left, right, first = change.left.float(), change.right.float(), 0
    for block in weights_files.blocks(base):
        sums.add_base(block, left[first : first + len(block)] @ right)
        first += len(block)
    sums.change, sums.spectral = float(values.square().sum()), float(values[0])
    if sums.change > 0:
        sums.changed = base.size
        sums.singular_values = values[: weights_measure.MOST_VALUES].tolist()
    return weights_measure.row(name, "lora", base.size, sums)


def touched(base_folder: Path, adapter_folder: Path) -> dict[str, Touched]:
    """What the adapter changes, by the name of the tensor in the base. Raises ValueError like `lora_changes`."""
    folder = Path(adapter_folder)
    config = adapter_config(folder)
    if not (folder / "adapter_model.safetensors").is_file():
        raise ValueError(f"{folder} holds no adapter_model.safetensors: save the adapter with peft, as safetensors.")
    base, found = weights_files.tensors(base_folder), {}
    halves: dict[str, dict[str, Stored]] = {}
    for key, stored in weights_files.header(folder / "adapter_model.safetensors").items():
        if match := FACTOR.match(key):
            module, embedding, half = match.groups()
            halves.setdefault(module, {})[half] = stored
            halves[module] |= {"turned": stored} if embedding else {}
        elif "lora_" in key or "trainable_tokens" in key:
            raise ValueError(
                f"{key} in {folder} is more than plain LoRA: merge the adapter and compare the two models."
            )
        elif ".base_layer." not in key:  # peft's copy of an embedding that has factors
            name = key.removeprefix("base_model.model.")
            found[name] = Touched(_in_base(base, name, stored.shape, folder), stored)
    for module, pair in halves.items():
        found[f"{module}.weight"] = _factors(base, module, pair, config, folder)
    if not found:
        raise ValueError(f"The adapter in {folder} holds no LoRA tensors: save it again with peft.")
    return found


def _factors(base: dict[str, Stored], module: str, pair: dict[str, Stored], config: dict, folder: Path) -> Touched:
    """B and A of a module with their scaling, laid out like the base's tensor."""
    if not {"A", "B"} <= set(pair) or len(pair["A"].shape) != 2 or pair["A"].shape[:1] != pair["B"].shape[1:]:
        raise ValueError(f"The LoRA factors of {module} in {folder} do not fit together: save the adapter again.")
    rank = pair["A"].shape[0]
    if rank != _setting(config, "rank_pattern", "r", module):
        raise ValueError(
            f"{module} in {folder} has rank {rank}, adapter_config.json says otherwise: take both from one run."
        )
    scaling = _setting(config, "alpha_pattern", "lora_alpha", module)
    scaling /= math.sqrt(rank) if config.get("use_rslora") else rank
    left, right = weights_files.whole(pair["B"]).double() * scaling, weights_files.whole(pair["A"]).double()
    if "turned" in pair or config.get("fan_in_fan_out"):  # stored the other way round: embeddings, GPT-2's Conv1D
        left, right = right.T.contiguous(), left.T.contiguous()
    shape = (left.shape[0], right.shape[1])
    return Touched(_in_base(base, f"{module}.weight", shape, folder), LowRank(left, right))


def _in_base(base: dict[str, Stored], name: str, shape: tuple[int, ...], folder: Path) -> Stored:
    stored = base.get(name)
    if stored is None and name.endswith("lm_head.weight"):  # tied: the output matrix is the input embedding
        stored = next((base[other] for other in base if weights_files.INPUT_EMBEDDING.search(other)), None)
    if stored is None or stored.shape != tuple(shape):
        wrong = "which the base has not" if stored is None else f"here {list(shape)}, in the base {list(stored.shape)}"
        raise ValueError(f"The adapter in {folder} was made for another model ({name}: {wrong}): give its own base.")
    return stored


def adapter_config(folder: Path) -> dict:
    """adapter_config.json, checked to be a LoRA that adds BA to the base and nothing else."""
    if not is_adapter(folder):
        raise ValueError(f"{folder} holds no adapter_config.json: give the folder that peft saved the adapter to.")
    config = weights_files.read_config(folder / "adapter_config.json")
    kind, start = config.get("peft_type"), config.get("init_lora_weights")
    if kind != "LORA" or config.get("use_dora"):
        kind = "DoRA" if kind == "LORA" else kind
        raise ValueError(f"The adapter in {folder} is {kind}, not plain LoRA: merge it and compare the two models.")
    if isinstance(start, str) and start.startswith(CHANGES_BASE):
        raise ValueError(f"The adapter in {folder} began with {start}, which changes the base: convert it with peft.")
    return config


def _setting(config: dict, pattern: str, default: str, module: str) -> float:
    """Rank or alpha of a module by peft's rule: the first pattern that fits the end of its name, else the default."""
    patterns = config.get(pattern) or {}
    key = next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), None)
    value = config.get(default) if key is None else patterns[key]
    if not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"adapter_config.json says {default} = {value!r}, not a number above 0: take it from the run.")
    return value
