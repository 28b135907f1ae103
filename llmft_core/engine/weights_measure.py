"""How far one tensor moved: the sums over its blocks, the figures made of them, and the spectrum of its change."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from llmft_core.engine import weights_files
from llmft_core.engine.weights_files import Stored

MOST_VALUES = 16  # singular values kept per tensor
KEPT = 1 << 26  # elements: a larger change (an embedding table) is not kept in memory, so it has no spectrum
EXACT_BELOW = 256  # rows or columns: up to here the exact spectrum costs 10 ms
SEVERAL_BELOW = 1 << 20  # elements: up to here the 16 largest values are estimated, beyond only the first
ONE = (1, 10)  # width and passes; worst case (a flat spectrum, Gaussian noise): 0.8 % too small
SEVERAL = (16, 6)  # worst case: first 1.5 %, sixteenth 4 % too small
ROWS_AT_ONCE = 1 << 19  # elements


@dataclass
class Sums:
    """What one pass over a tensor adds up, in float64 across blocks."""

    base: float = 0.0  # sum of W0^2
    change: float = 0.0  # sum of dW^2
    inner: float = 0.0  # <W0, dW>
    rounding: float = 0.0  # sum of (W0 in the other dtype - W0)^2
    changed: float = 0.0  # entries with dW != 0
    largest: float = 0.0  # max |dW|
    singular_values: list[float] = field(default_factory=list)  # largest first; may be empty
    spectral: float = math.nan

    def add_base(self, base: torch.Tensor, change: torch.Tensor) -> None:
        """A block of W0 and of dW, both float32 of one shape."""
        self.base += float(_dot(base, base))
        self.inner += float(_dot(base, change))
        low, high = torch.aminmax(change)
        self.largest = float(torch.stack([-low, high, torch.tensor(self.largest)]).max())


def _dot(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.dot(one.reshape(-1), other.reshape(-1))


def row(name: str, kind: str, parameters: int, sums: Sums) -> dict:
    """One row of weights.parquet. Figures that do not exist (a relative change of zeros) are NaN."""
    base, change = math.sqrt(sums.base), math.sqrt(max(sums.change, 0.0))
    layer, module = weights_files.place(name)
    return {
        "tensor": name, "layer": layer, "module": module, "parameters": parameters,
        "base_norm": base, "change_norm": change, "relative_change": change / base if base else math.nan,
        "one_minus_cosine": one_minus_cosine(sums.base, sums.change, sums.inner),
        "share_changed": sums.changed / parameters if parameters else math.nan,
        "largest_change": sums.largest,
        "stable_rank": sums.change / sums.spectral**2 if sums.spectral else math.nan,
        "spectral_norm": sums.spectral, "singular_values": sums.singular_values, "kind": kind,
        "noise_floor": math.sqrt(sums.rounding) / base if base else 0.0,
    }  # fmt: skip


def one_minus_cosine(base: float, change: float, inner: float) -> float:
    """1 - cos(W0, W0 + dW) from |W0|^2, |dW|^2 and <W0, dW>; NaN if either is zero.

    sin^2 / (1 + cos), because 1 - cos of nearly parallel weights would be a difference of equal numbers.
    """
    tuned = base + 2 * inner + change
    if not (base > 0 and tuned > 0):
        return math.nan
    cosine = (base + inner) / math.sqrt(base * tuned)
    sine2 = max(base * change - inner**2, 0.0) / (base * tuned)
    return sine2 / (1 + cosine) if cosine > 0 else 1 - cosine


def difference(base: Stored, tuned: Stored, spectral: bool) -> Sums:
    """Sums of a tensor that is stored on both sides, in one pass over both files."""
    sums, shape = Sums(), base.matrix
    with_spectrum = spectral and min(shape) > 1 and base.size <= KEPT
    kept = torch.empty(shape if with_spectrum else (0, 0))
    scratch = mask = None
    first = 0
    for before, after in zip(weights_files.blocks(base), weights_files.blocks(tuned), strict=True):
        if scratch is None:
            scratch, mask = torch.empty_like(before), np.empty(before.shape, dtype=bool)
        out = kept[first : first + len(before)] if with_spectrum else scratch[: len(before)]
        change = torch.sub(after, before, out=out)
        sums.add_base(before, change)
        sums.change += float(_dot(change, change))
        # numpy's comparison and count are vectorised; torch.count_nonzero is 40 times slower here
        sums.changed += int(np.count_nonzero(np.not_equal(change.numpy(), 0, out=mask[: len(before)])))
        if base.dtype != tuned.dtype:
            rounded = before.to(tuned.dtype).float().sub_(before)
            sums.rounding += float(_dot(rounded, rounded))
        first += len(before)
    if with_spectrum and math.isfinite(sums.change):
        sums.spectral, sums.singular_values = spectrum(kept) if sums.change > 0 else (0.0, [])
    return sums


def spectrum(matrix: torch.Tensor) -> tuple[float, list[float]]:
    """The spectral norm of a float32 matrix, and its largest singular values (none for a large matrix).

    Exact for a narrow matrix. Otherwise a Krylov estimate from below: block Lanczos on M^T M (Golub, Underwood 1977;
    Musco, Musco 2015, arXiv 1504.05477), which is power iteration that keeps the directions it went through, and so
    needs 10 passes where power iteration is less exact after 20. Seeded: the same matrix gives the same figures.
    """
    if min(matrix.shape) <= EXACT_BELOW:
        values = _exact(matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T)
    elif matrix.numel() <= SEVERAL_BELOW:
        values = _krylov(matrix, *SEVERAL)
    else:
        return float(_krylov(matrix, *ONE)[0]), []
    return float(values[0]), values[:MOST_VALUES].tolist()


def _exact(tall: torch.Tensor) -> torch.Tensor:
    """All singular values, by the Gram matrix in float64."""
    columns = tall.shape[1]
    gram = torch.zeros(columns, columns, dtype=torch.float64)
    for rows in tall.split(max(1, ROWS_AT_ONCE // columns)):
        wide = rows.double()
        gram.addmm_(wide.T, wide)
    return torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).sqrt()


def _krylov(matrix: torch.Tensor, width: int, passes: int) -> torch.Tensor:
    """Ritz values of M^T M after `passes` products with `width` vectors, as singular values, largest first."""
    columns = matrix.shape[1]
    block = torch.randn(columns, width, generator=torch.Generator().manual_seed(0))
    basis = images = torch.empty(columns, 0)
    for _ in range(passes):
        for _ in range(2):  # twice: once leaves the rounding errors of what was large
            block = torch.linalg.qr(block - basis @ (basis.T @ block))[0]
        image = torch.zeros(columns, width)
        for rows in matrix.split(max(1, ROWS_AT_ONCE // columns)):  # both products while the rows are in the cache
            image.addmm_(rows.T, rows @ block)
        basis, images, block = torch.cat([basis, block], 1), torch.cat([images, image], 1), image
    core = basis.double().T @ images.double()
    return torch.linalg.eigvalsh((core + core.T) / 2).flip(0).clamp_min(0).sqrt()


def frame(rows: list[dict]) -> pd.DataFrame:
    """The rows in the order of the model: outside the layers first, then layer by layer."""
    ordered = sorted(rows, key=lambda row: (row["layer"], row["tensor"]))
    return pd.DataFrame(ordered)
