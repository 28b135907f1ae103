"""What fine-tuning did to the weights, read from the files: no model is built, memory stays bounded.

`lora_changes` for an adapter, `full_changes` for two models; both give one row per tensor (the columns of
weights.parquet). Changes are taken in float32, norms are added up in float64.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd

from llmft_core.engine import weights_files, weights_lora, weights_measure
from llmft_core.engine.weights_files import parameter_counts
from llmft_core.engine.weights_lora import LowRank, Touched, lora_changes
from llmft_core.engine.weights_measure import dot

__all__ = ["full_changes", "lora_changes", "nothing_changed", "parameter_counts", "summarise", "task_vector_cosine"]


def full_changes(base_folder: Path, tuned_folder: Path, spectral: bool = True) -> pd.DataFrame:
    """One row per tensor of two models of one architecture, in the columns of weights.parquet.

    `noise_floor` is the relative Frobenius error of W0 written in the fine-tuned model's dtype (1.66e-3 for normal
    weights from float32 to bf16, 0 where nothing is lost). `spectral_norm` and `stable_rank` = |dW|_F^2 / |dW|_2^2 are
    NaN for vectors, for tensors over 67 million entries (large embedding tables), and everywhere if not `spectral`;
    `weights_measure.spectrum` says how exact they are. `singular_values` is empty for large matrices.
    Raises ValueError if a file is missing or damaged, or the two models do not have the same tensors.
    """
    parts = _pairs(base_folder, tuned_folder)

    def measure(name: str) -> dict:
        base, tuned = parts[name]
        return weights_measure.row(name, "full", base.size, weights_measure.difference(base, tuned, spectral))

    return weights_measure.frame(weights_files.in_parallel(measure, weights_measure.largest_first(parts)))


def _pairs(base_folder: Path, tuned_folder: Path) -> dict[str, Touched]:
    """Each tensor of the base with its fine-tuned self."""
    base, tuned = weights_files.tensors(base_folder), weights_files.tensors(tuned_folder)
    for names, there, others in ((base, base_folder, tuned), (tuned, tuned_folder, base)):
        if only := sorted(set(names) - set(others)):
            raise ValueError(f"Only {there} has {weights_files.some(only)}: give two models of one architecture.")
    for name, stored in base.items():
        if stored.shape != tuned[name].shape:
            shapes = f"{list(stored.shape)} in the base and {list(tuned[name].shape)} in the fine-tuned model"
            raise ValueError(f"{name} is {shapes}: give two models of one size and vocabulary.")
    return {name: Touched(stored, tuned[name]) for name, stored in base.items()}


def task_vector_cosine(base_folder: Path, tuned_a: Path, tuned_b: Path) -> float:
    """Cosine (-1..1) between what two fine-tunes of one base added to it: did they make the same edit?

    Each of the two is the folder of a model or of an adapter. Two adapters are compared by their factors, without
    forming BA. A tensor that only one of them touches adds to its length alone. NaN if either changed nothing. Task
    vectors: Ilharco et al. 2023, arXiv 2212.04089. Raises ValueError like `full_changes` and `lora_changes`.
    """
    find = [weights_lora.touched if weights_lora.is_adapter(folder) else _pairs for folder in (tuned_a, tuned_b)]
    one, other = find[0](base_folder, tuned_a), find[1](base_folder, tuned_b)
    parts = one | other

    def products(name: str) -> tuple[float, float, float]:
        still = Touched(parts[name].base, LowRank.zero(parts[name].base.matrix))
        return _products(one.get(name, still), other.get(name, still))

    found = weights_files.in_parallel(products, weights_measure.largest_first(parts))
    across, length_one, length_other = np.sum(found, axis=0)
    return float(across / math.sqrt(length_one * length_other)) if length_one and length_other else math.nan


def _products(one: Touched, other: Touched) -> tuple[float, float, float]:
    """(<X, Y>, <X, X>, <Y, Y>) of the changes X and Y of one tensor; stored ones in one pass over the files."""
    x, y = one.change, other.change
    if isinstance(y, LowRank):
        if isinstance(x, LowRank):
            return x.inner(y), x.inner(x), y.inner(y)
        across, length_y, length_x = _products(other, one)
        return across, length_x, length_y
    across, length_x, length_y, first = 0.0, 0.0, 0.0, 0
    thirds = itertools.repeat(None) if isinstance(x, LowRank) else weights_files.blocks(x)
    for before, after, third in zip(weights_files.blocks(one.base), weights_files.blocks(y), thirds, strict=False):
        change = after.sub_(before)
        length_y += dot(change, change)
        if third is None:  # <BA, Y> = <A, B^T Y>
            across += float(((x.left[first : first + len(change)].float().T @ change) * x.right).sum())
        else:
            across += dot(third.sub_(before), change)
            length_x += dot(third, third)
        first += len(change)
    return across, x.inner(x) if isinstance(x, LowRank) else length_x, length_y


def summarise(changes: pd.DataFrame) -> pd.DataFrame:
    """One row per layer and module: the tensors of a cell as if they were one (root of the sum of squares).

    -> layer, module, tensors, parameters, base_norm, change_norm, relative_change, noise_floor.
    """
    squares = changes.assign(
        tensors=1,
        base=changes["base_norm"] ** 2,
        change=changes["change_norm"] ** 2,
        rounding=(changes["noise_floor"] * changes["base_norm"]) ** 2,
    )
    columns = ["tensors", "parameters", "base", "change", "rounding"]
    cells = squares.groupby(["layer", "module"], as_index=False, sort=False)[columns].sum()
    base, change, rounding = (np.sqrt(cells.pop(name)) for name in ("base", "change", "rounding"))
    some = base.where(base > 0)
    return cells.assign(
        base_norm=base, change_norm=change, relative_change=change / some, noise_floor=(rounding / some).fillna(0.0)
    )


def nothing_changed(changes: pd.DataFrame) -> str | None:
    """A warning if the weights did not move, moved no more than rounding does, or are no numbers; else None."""
    broken = changes.loc[~np.isfinite(changes["change_norm"]), "tensor"]
    if len(broken):
        return f"Training diverged: {weights_files.some(broken)} holds no numbers any more; lower the learning rate."
    moved = changes[changes["change_norm"] > 0]
    if moved.empty:
        return "Nothing changed: every weight is what it was, so the model was not trained or its adapter is empty."
    if (moved["relative_change"] <= moved["noise_floor"]).all():
        return "Nothing changed beyond rounding: the two models differ by no more than their number formats explain."
    return None
