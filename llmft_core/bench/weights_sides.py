"""The two sides of the bench `weights`, inside their children; the files are in the page cache before either begins
(but for `from_disk`, which has the system drop them).

`theirs` is the loop that one writes without us: both models with transformers, and for each parameter the same figures
with torch, from float32, norms added up in float64 (in float32 that of a 1B model's embeddings is 4 % too small).
It has every column of ours that both can have at equal quality: of the spectrum the norm by POWER_STEPS of power
iteration, since an SVD of every change would be unfair; hence no `singular_values`; no `one_minus_cosine`
(in float32 it has no right digit for a matrix of 16 million entries) and no `noise_floor` (0 for checkpoints of one
dtype). What it leaves out costs it no time.
"""

import math
import os
import statistics
import time
from pathlib import Path

import torch

from llmft_core.engine import weights

FIGURES = (
    "base_norm", "change_norm", "relative_change", "share_changed", "largest_change", "stable_rank", "spectral_norm",
)  # fmt: skip
POWER_STEPS = 20  # as near to the largest singular value of noise as our 10 Krylov passes
KEPT = 1 << 26  # elements: ours has no spectrum for a larger change, so theirs is spared it
AT_ONCE = 1 << 23  # bytes


def ours(request: dict) -> tuple[float, int, dict, dict]:
    """full_changes, and the median time of reading all bytes in one thread."""
    folders = Path(request["base"]), Path(request["tuned"])
    _read(folders)
    reading = statistics.median(_read(folders) for _ in range(3))
    start = time.perf_counter()
    table = weights.full_changes(*folders)
    taken = time.perf_counter() - start
    rows = table.set_index("tensor")[list(FIGURES)].to_dict(orient="index")
    about = {"read_seconds": round(reading, 6), "parameters": int(table["parameters"].sum())}
    return taken, len(rows), {name: _finite(row) for name, row in rows.items()}, about


def lora(request: dict) -> tuple[float, int, dict, dict]:
    """lora_changes of the adapter."""
    base, adapter = Path(request["base"]), Path(request["adapter"])
    _read((base, adapter))
    start = time.perf_counter()
    table = weights.lora_changes(base, adapter)
    return time.perf_counter() - start, len(table), {}, {}


def from_disk(request: dict) -> tuple[float, int, dict, dict]:
    """full_changes of files that are on the disk alone, and the time of reading them from there in one thread."""
    folders = Path(request["base"]), Path(request["tuned"])
    _drop(folders)
    reading = _read(folders)
    _drop(folders)
    start = time.perf_counter()
    table = weights.full_changes(*folders)
    taken = time.perf_counter() - start
    size = sum(path.stat().st_size for path in _files(folders))
    return taken, len(table), {}, {"read_seconds": round(reading, 6), "bytes": size}


@torch.inference_mode()
def theirs(request: dict) -> tuple[float, int, dict, dict]:
    """Both models in memory, then a loop over the parameters."""
    from transformers import AutoModelForCausalLM

    folders = Path(request["base"]), Path(request["tuned"])
    _read(folders)
    start = time.perf_counter()
    base, tuned = (AutoModelForCausalLM.from_pretrained(folder, dtype="auto") for folder in folders)
    after = dict(tuned.named_parameters())
    rows = {name: figures(before.float(), after[name].float()) for name, before in base.named_parameters()}
    return time.perf_counter() - start, len(rows), {name: _finite(row) for name, row in rows.items()}, {}


def figures(before: torch.Tensor, after: torch.Tensor) -> dict[str, float]:
    """The columns of ours for one tensor, float32 on both sides."""
    change = after - before
    base, moved = (float(torch.linalg.vector_norm(part, dtype=torch.float64)) for part in (before, change))
    largest = spectral_norm(change) if change.dim() == 2 and change.numel() <= KEPT else math.nan
    return {
        "base_norm": base,
        "change_norm": moved,
        "relative_change": moved / base if base else math.nan,
        "share_changed": int(change.count_nonzero()) / change.numel(),
        "largest_change": float(change.abs().max()),
        "stable_rank": moved**2 / largest**2 if largest else math.nan,
        "spectral_norm": largest,
    }


def spectral_norm(change: torch.Tensor) -> float:
    """By power iteration from a seeded start; 0 for no change."""
    if not change.any():
        return 0.0
    vector = torch.randn(change.shape[1], generator=torch.Generator().manual_seed(0))
    for _ in range(POWER_STEPS):
        vector = change.T @ (change @ vector)
        vector /= vector.norm()
    return float((change @ vector).norm())


def _finite(row: dict[str, float]) -> dict[str, float | None]:
    return {column: value if math.isfinite(value) else None for column, value in row.items()}


def _drop(folders: tuple[Path, ...]) -> None:
    """Have the system write all safetensors to the disk and drop them from its page cache (Linux)."""
    for path in _files(folders):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(folders: tuple[Path, ...]) -> float:
    """Seconds to read all safetensors, in pieces that stay in the processor's cache."""
    room, start = bytearray(AT_ONCE), time.perf_counter()
    for path in _files(folders):
        with path.open("rb", buffering=0) as file:
            while file.readinto(room):
                pass
    return time.perf_counter() - start


def _files(folders: tuple[Path, ...]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
