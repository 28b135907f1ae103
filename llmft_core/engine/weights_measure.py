"""How far one tensor moved: the sums over its blocks, the figures made of them, and the spectrum of its change."""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from llmft_core.engine import weights_files
from llmft_core.engine.weights_files import Stored

MOST_VALUES = 16  # singular values kept per tensor
KEPT = 1 << 26  # elements: a larger change (an embedding table) is not kept in memory, so it has no spectrum
EXACT_UP_TO = 256  # rows or columns: so far the exact spectrum costs 10 ms
SEVERAL_BELOW = 1 << 20  # elements: below, the 16 largest values are estimated, from here on only the first
# width, most passes, gain that ends them; how much too small they come out is for Gaussian noise, the worst case
ONE = (1, 10, 1e-3)  # 1 %
SEVERAL = (16, 6, 0.0)  # the first 1.5 %, the sixteenth 4 %
ROWS_AT_ONCE = 1 << 19  # elements
_own = threading.local()


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
        self.base += dot(base, base)
        self.inner += dot(base, change)
        values = change.numpy()  # numpy's maximum and minimum take half as long as torch.aminmax
        self.largest = max(self.largest, -float(values.min()), float(values.max()))


def dot(one: torch.Tensor, other: torch.Tensor) -> float:
    """Inner product of two blocks of one shape."""
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))


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
    kept = _room(shape) if with_spectrum else None
    scratch = mask = None
    first = 0
    for raw, after in zip(weights_files.raw_blocks(base), weights_files.raw_blocks(tuned), strict=True):
        if scratch is None:
            scratch, mask = torch.empty(3, *raw.shape), np.empty(raw.shape, dtype=bool)
        out = kept[first : first + len(raw)] if with_spectrum else scratch[2, : len(raw)]
        first += len(raw)
        before = weights_files.widened(raw, scratch[0])
        if same_bytes(raw, after) and math.isfinite(square := dot(before, before)):
            sums.base += square
            if with_spectrum:
                out.zero_()
            continue
        change = torch.sub(weights_files.widened(after, scratch[1]), before, out=out)
        sums.add_base(before, change)
        sums.change += dot(change, change)
        # numpy's comparison and count are vectorised; torch.count_nonzero is 40 times slower here
        sums.changed += int(np.count_nonzero(np.not_equal(change.numpy(), 0, out=mask[: len(change)])))
        if base.dtype != tuned.dtype:
            rounded = before.to(tuned.dtype).float().sub_(before)
            sums.rounding += dot(rounded, rounded)
    if with_spectrum and math.isfinite(sums.change):
        sums.spectral, sums.singular_values = spectrum(kept) if sums.change > 0 else (0.0, [])
    return sums


def same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two blocks are the same, as they lie in their files."""
    return one.dtype == other.dtype and np.array_equal(*(b.reshape(-1).view(torch.uint8).numpy() for b in (one, other)))


def _room(shape: tuple[int, int]) -> torch.Tensor:
    """A matrix to fill, in memory that the thread keeps: fresh pages for each tensor would cost a tenth of the time."""
    size = shape[0] * shape[1]
    if getattr(_own, "room", None) is None or _own.room.numel() < size:
        _own.room = torch.empty(size)
    return _own.room[:size].view(shape)


def spectrum(matrix: torch.Tensor) -> tuple[float, list[float]]:
    """The spectral norm of a float32 matrix, and its largest singular values (none for a large matrix).

    Exact for a narrow matrix. Otherwise a Krylov estimate from below: block Lanczos on M^T M (Golub, Underwood 1977;
    Musco, Musco 2015, arXiv 1504.05477), which is power iteration that keeps the directions it went through, and so
    is nearer after 10 passes than power iteration after 20. Seeded: the same matrix gives the same figures.
    """
    if min(matrix.shape) <= EXACT_UP_TO:
        values = _exact(matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T)
    elif matrix.numel() < SEVERAL_BELOW:
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


def _krylov(matrix: torch.Tensor, width: int, passes: int, gain: float) -> torch.Tensor:
    """Ritz values of M^T M as singular values, largest first, after at most `passes` products with `width` vectors.

    The first pass that raises the largest by no more than the share `gain` is the last.
    """
    columns, known = matrix.shape[1], 0.0
    block = torch.randn(columns, width, generator=torch.Generator().manual_seed(0)).double()
    basis = images = torch.empty(columns, 0, dtype=torch.float64)
    for _ in range(passes):
        # A change of low rank soon leaves no new direction: the block is rounding then, and must stay orthogonal to the
        # basis too, or values come out too large. Hence float64, and three times rather than the usual two.
        for _ in range(3):
            block = torch.linalg.qr(block - basis @ (basis.T @ block))[0]
        narrow, image = block.float(), torch.zeros(columns, width)
        for rows in matrix.split(max(1, ROWS_AT_ONCE // columns)):  # both products while the rows are in the cache
            image.addmm_(rows.T, rows @ narrow)
        basis, block = torch.cat([basis, block], 1), image.double()
        images = torch.cat([images, block], 1)
        core = basis.T @ images
        values = torch.linalg.eigvalsh((core + core.T) / 2).flip(0).clamp_min(0).sqrt()
        if gain and float(values[0]) <= known * (1 + gain):
            break
        known = float(values[0])
    return values


def largest_first(parts: Mapping[str, Sequence]) -> list[str]:
    """Names by the size of the base tensor, parts[name][0]: with a long one last, the other cores would wait for it."""
    return sorted(parts, key=lambda name: -parts[name][0].size)


def frame(rows: list[dict]) -> pd.DataFrame:
    """The rows in the order of the model: outside the layers first, then layer by layer."""
    return pd.DataFrame(sorted(rows, key=lambda row: (row["layer"], row["tensor"])))
