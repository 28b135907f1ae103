"""The change that a LoRA adapter makes to one weight, exactly, without forming the product of its factors."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

PREFIX = "base_model.model."
KEPT_VALUES = 16
ROWS = 1024  # rows of the product formed at a time, for its largest entry


class Adapter:
    """An adapter folder of peft: its factors, and the scale that belongs to each."""

    def __init__(self, folder: Path):
        folder = Path(folder)
        try:
            self.config = json.loads((folder / "adapter_config.json").read_text())
            with safe_open(folder / "adapter_model.safetensors", "pt") as file:
                self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (FileNotFoundError, ValueError, SafetensorError) as error:
            raise ValueError(f"{folder}: no LoRA adapter that can be read ({str(error).splitlines()[0]}).") from None

    def pairs(self) -> Iterator[tuple[str, tuple[torch.Tensor, torch.Tensor, float]]]:
        """(name of the base weight, (A [r, in], B [out, r], scale)) in float32."""
        for name in sorted(self.tensors):
            if not name.endswith(".lora_A.weight"):
                continue
            module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            a, b = self.tensors[name].float(), self.tensors[name.replace("lora_A", "lora_B")].float()
            yield f"{module}.weight", (a, b, self.scale(module, a.shape[0]))

    def saved(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole tensors that were trained beside the factors (`modules_to_save`)."""
        for name, tensor in self.tensors.items():
            if ".lora_" not in name:
                yield name.removeprefix(PREFIX), tensor

    def scale(self, module: str, rank: int) -> float:
        """alpha / r, or alpha / √r for rank-stabilised LoRA (arXiv 2312.03732)."""
        patterns = self.config.get("alpha_pattern") or {}
        alpha = next((v for k, v in patterns.items() if re.match(rf"(.*\.)?({k})$", module)), self.config["lora_alpha"])
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def one_minus_cosine(base: float, inner: float, change: float) -> float:
    """1 − cos(W₀, W₀ + ΔW) from ‖W₀‖², ⟨W₀, ΔW⟩ and ‖ΔW‖², in the form that keeps its digits when it is tiny."""
    after = base + 2 * inner + change
    if base <= 0 or after <= 0:
        return 0.0
    cosine = (base + inner) / math.sqrt(base * after)
    sine_squared = max(0.0, (base * change - inner * inner) / (base * after))
    return sine_squared / (1 + cosine) if cosine > 0 else 1 - cosine


def lora_row(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> dict:
    """Norms, direction and spectrum of ΔW = scale·B·A against W₀ [out, in]."""
    values = torch.linalg.svdvals(scale * torch.linalg.qr(b)[1].double() @ torch.linalg.qr(a.T)[1].double().T)
    weight = weight.float()
    base = float(weight.square().sum(dtype=torch.float64))
    change = float(values.square().sum())
    inner = scale * float(((b.T @ weight) * a).sum(dtype=torch.float64))
    largest = max(float((rows @ a).abs().max()) for rows in b.split(ROWS)) * abs(scale)
    return {
        "base_norm": math.sqrt(base),
        "change_norm": math.sqrt(change),
        "relative_change": math.sqrt(change / base) if base else 0.0,
        "one_minus_cosine": one_minus_cosine(base, inner, change),
        "share_changed": float(change > 0),
        "largest_change": largest,
        "stable_rank": change / float(values[0]) ** 2 if change > 0 else 0.0,
        "spectral_norm": float(values[0]),
        "singular_values": values[:KEPT_VALUES].tolist(),
    }
