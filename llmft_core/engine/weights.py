"""How far each tensor moved: relative change ‖ΔW‖ / ‖W₀‖ (Frobenius), direction, rank; read from safetensors, without a model.

full fine-tuning   ΔW = W − W₀, streamed tensor by tensor in bounded memory
LoRA               ΔW = s·B·A, never formed: QR of B and of Aᵀ leave an r × r core with the same singular values
"""

import json
import math
import re
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from llmft_core.engine.weights_lora import KEPT_VALUES, Adapter, lora_row, one_minus_cosine

BLOCK = 4_000_000  # entries converted to float32 at a time
WHOLE_SPECTRUM = 1024  # smaller sides get all singular values exactly, larger ones a randomised sketch
MOST_AT_ONCE = 64_000_000  # entries: of a larger change (an embedding) every n-th row is taken for its spectrum
COLUMNS = (
    "tensor", "layer", "module", "parameters", "base_norm", "change_norm", "relative_change", "one_minus_cosine",
    "share_changed", "largest_change", "stable_rank", "spectral_norm", "singular_values", "kind", "noise_floor",
)  # fmt: skip


class Checkpoint:
    """The tensors of a folder in Hub format, one file or shards, opened once and read by name."""

    def __init__(self, folder: Path):
        files = sorted(Path(folder).glob("model*.safetensors"))
        if not files:
            raise ValueError(f"{folder}: no model*.safetensors in this folder; give a model saved in Hub format.")
        try:
            self.files = [safe_open(path, "pt") for path in files]
            self.place = {name: file for file in self.files for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{folder}: a safetensors file is damaged ({error}); copy or download it again.") from None

    def names(self) -> set[str]:
        return set(self.place)

    def read(self, name: str) -> torch.Tensor:
        """The tensor as it is stored."""
        return self.place[name].get_tensor(name)

    def shape(self, name: str) -> list[int]:
        return self.place[name].get_slice(name).get_shape()


def lora_changes(base_folder: Path, adapter_folder: Path) -> pd.DataFrame:
    """One row per weight that the adapter changes. Raises ValueError if the adapter is damaged or for another model.

    `share_changed` is 1 where the change is not zero: a product of dense factors leaves no entry as it was.
    """
    base, adapter, rows = Checkpoint(base_folder), Adapter(adapter_folder), []
    for name, (a, b, scale) in adapter.pairs():
        if name not in base.names():
            raise ValueError(f"{adapter_folder}: the adapter changes {name}, which this base model does not have.")
        weight = base.read(name)
        if list(weight.shape) != [b.shape[0], a.shape[1]]:
            raise ValueError(f"{adapter_folder}: the adapter's {name} has another shape than the base model's.")
        rows.append(
            _placed(name, weight.numel()) | lora_row(weight, a, b, scale) | {"kind": "lora", "noise_floor": 0.0}
        )
    for name, tensor in adapter.saved():
        rows.append(_placed(name, tensor.numel()) | _dense_row(base.read(name), tensor, True) | {"kind": "full"})
    return _table(rows)


def full_changes(base_folder: Path, tuned_folder: Path, spectral: bool = True) -> pd.DataFrame:
    """One row per tensor of two checkpoints of the same architecture; tied embeddings count once.

    `noise_floor` is the relative change that rounding to the coarser of two dtypes alone makes, 0 if they are equal.
    Raises ValueError that names a tensor which one side lacks or which has another shape.
    """
    base, tuned = Checkpoint(base_folder), Checkpoint(tuned_folder)
    tied = _tied(base_folder)
    for name in sorted(base.names() ^ tuned.names()):
        if not (tied and name.startswith("lm_head.")):
            where = "fine-tuned" if name in base.names() else "base"
            raise ValueError(f"The {where} model has no tensor {name}: these are not two versions of one model.")
    rows = []
    for name in sorted(base.names() & tuned.names(), key=_order):
        if tied and name.startswith("lm_head."):
            continue
        if base.shape(name) != tuned.shape(name):
            raise ValueError(
                f"{name} has shape {base.shape(name)} in the base and {tuned.shape(name)} in the fine-tuned model."
            )
        before, after = base.read(name), tuned.read(name)
        rows.append(_placed(name, before.numel()) | _dense_row(before, after, spectral) | {"kind": "full"})
    return _table(rows)


def summarise(changes: pd.DataFrame) -> pd.DataFrame:
    """Layer × module: columns layer, module, parameters, relative_change = √Σ‖ΔW‖² / √Σ‖W₀‖²."""
    squares = changes.assign(base=changes["base_norm"] ** 2, change=changes["change_norm"] ** 2)
    sums = squares.groupby(["layer", "module"], as_index=False)[["parameters", "base", "change"]].sum()
    sums["relative_change"] = (sums["change"] / sums["base"].clip(lower=1e-30)) ** 0.5
    return sums[["layer", "module", "parameters", "relative_change"]]


def nothing_changed(changes: pd.DataFrame) -> str | None:
    """A warning sentence if no weight moved, or None."""
    if len(changes) and (changes["change_norm"] > 0).any():
        return None
    return "Nothing changed: every weight is as it was, so the model was not trained or its adapter is empty."


def parameter_counts(folder: Path) -> dict:
    """{"total": entries, "by_module": {module: entries}} from the headers alone; tied embeddings count once."""
    checkpoint, by_module = Checkpoint(folder), {}
    for name in checkpoint.names():
        if not (_tied(folder) and name.startswith("lm_head.")):
            module = _placed(name, 0)["module"]
            by_module[module] = by_module.get(module, 0) + math.prod(checkpoint.shape(name))
    return {"total": sum(by_module.values()), "by_module": by_module}


def task_vector_cosine(base_folder: Path, one: Path, other: Path) -> float:
    """Cosine between the weight changes of two runs from one base: two LoRA folders, or two full checkpoints."""
    if (Path(one) / "adapter_config.json").exists():
        pairs, others = dict(Adapter(one).pairs()), dict(Adapter(other).pairs())

        def inner(left, right):  # ⟨sBA, s'B'A'⟩ = s·s'·Σ (BᵀB') ∘ (AA'ᵀ)
            both = ((n, left[n], right[n]) for n in left.keys() & right.keys())
            return sum(float(((p[1].T @ q[1]) * (p[0] @ q[0].T)).sum()) * p[2] * q[2] for _, p, q in both)

        return inner(pairs, others) / math.sqrt(inner(pairs, pairs) * inner(others, others))
    base, first, second = Checkpoint(base_folder), Checkpoint(one), Checkpoint(other)
    sums = torch.zeros(3, dtype=torch.float64)
    for name in base.names() & first.names() & second.names():
        w0 = base.read(name).float()
        d1, d2 = first.read(name).float() - w0, second.read(name).float() - w0
        sums += torch.stack([(d1 * d2).sum(), d1.square().sum(), d2.square().sum()]).double()
    return float(sums[0] / (sums[1] * sums[2]).sqrt())


def _dense_row(before: torch.Tensor, after: torch.Tensor, spectral: bool) -> dict:
    base = change = inner = rounding = 0.0
    largest, moved = 0.0, 0
    coarser = None if before.dtype == after.dtype else min((before.dtype, after.dtype), key=lambda t: t.itemsize)
    for old, new in zip(before.reshape(-1).split(BLOCK), after.reshape(-1).split(BLOCK), strict=True):
        old, new = old.float(), new.float()
        delta = new - old
        base += float(old.square().sum(dtype=torch.float64))
        change += float(delta.square().sum(dtype=torch.float64))
        inner += float((old * delta).sum(dtype=torch.float64))
        largest = max(largest, float(delta.abs().max())) if delta.numel() else largest
        moved += int(delta.count_nonzero())
        if coarser is not None:
            rounding += float((old.to(coarser).float() - old).square().sum(dtype=torch.float64))
            rounding += float((new.to(coarser).float() - new).square().sum(dtype=torch.float64))
    values = _spectrum(before, after) if spectral and before.dim() == 2 and change > 0 else []
    return {
        "base_norm": math.sqrt(base),
        "change_norm": math.sqrt(change),
        "relative_change": math.sqrt(change / base) if base else 0.0,
        "one_minus_cosine": one_minus_cosine(base, inner, change),
        "share_changed": moved / max(1, before.numel()),
        "largest_change": largest,
        "stable_rank": change / values[0] ** 2 if values else 0.0,
        "spectral_norm": values[0] if values else math.sqrt(change) if before.dim() == 1 else 0.0,
        "singular_values": values[:KEPT_VALUES],
        "noise_floor": math.sqrt(rounding / base) if base else 0.0,
    }


def _spectrum(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    """Singular values of the change, largest first: all of a small matrix, a sketch of a large one (Halko et al. 2011)."""
    if before.numel() <= MOST_AT_ONCE:
        delta = after.float() - before.float()
    else:
        delta = after.to(torch.bfloat16) - before.to(torch.bfloat16)
        delta = (
            delta.float()
            if delta.numel() <= MOST_AT_ONCE
            else delta[:: math.ceil(delta.numel() / MOST_AT_ONCE)].float()
        )
    if min(delta.shape) <= WHOLE_SPECTRUM:
        return torch.linalg.svdvals(delta).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.svd_lowrank(delta, q=KEPT_VALUES + 8, niter=4)[1].tolist()


def _placed(name: str, parameters: int) -> dict:
    """Layer number (−1 outside the layers) and module name of a tensor."""
    layer = re.search(r"\.layers\.(\d+)\.", name)
    module = name.removesuffix(".weight").split(".")[-1]
    if name.endswith(".bias"):
        module = name.split(".")[-2] + ".bias"
    return {"tensor": name, "layer": int(layer[1]) if layer else -1, "module": module, "parameters": parameters}


def _order(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _tied(folder: Path) -> bool:
    try:
        return bool(json.loads((Path(folder) / "config.json").read_text()).get("tie_word_embeddings"))
    except (OSError, ValueError):
        return False


def _table(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))
