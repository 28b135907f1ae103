"""Where the weights moved: by layer and module, tensor by tensor, and how many numbers there are."""

import numpy as np
import pandas as pd

from llmft_core import words
from llmft_core.frames import reading
from llmft_core.frames.reading import Run

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj")
NORMS = "norms"  # one cell for all norm vectors of a layer: tiny, with long names
GRID_COLUMNS = ("layer", "module", "short", "relative_change", "noise_floor", "tensor", "parameters")
TENSOR_COLUMNS = (
    "tensor", "layer", "module", "parameters", "relative_change", "one_minus_cosine", "share_changed",
    "largest_change", "stable_rank", "spectral_norm",
)  # fmt: skip


def weight_grid(run: Run) -> pd.DataFrame:
    """One row per layer and module (its norms together): the cells of the heatmap, in the order of the computation.

    -> layer, module, short (`q` for q_proj), relative_change (‖ΔW‖ / ‖W₀‖ over the cell's tensors), noise_floor (what
    rounding alone could do), tensor (the largest of the cell), parameters. Modules that moved in no layer are left out,
    unless none moved at all; tensors outside the layers (embeddings) are only in `top_tensors`.
    """
    rows = _in_layers(run)
    if rows.empty:
        return reading.table([], GRID_COLUMNS)
    rows = rows.assign(base=rows["base_norm"] ** 2, moved=rows["change_norm"] ** 2)
    rows = rows.sort_values("parameters", ascending=False, kind="stable")
    cells = rows.groupby(["layer", "module"], as_index=False).agg(
        base=("base", "sum"), moved=("moved", "sum"), noise_floor=("noise_floor", "max"),
        tensor=("tensor", "first"), parameters=("parameters", "sum"),
    )  # fmt: skip
    cells["relative_change"] = np.sqrt(cells["moved"] / cells["base"].where(cells["base"] > 0))
    still = cells.groupby("module")["moved"].transform("max") == 0
    cells = cells[~still] if not still.all() else cells
    known = {module: place for place, module in enumerate(MODULES)}
    place = cells["module"].map(lambda module: known.get(module, len(known)))
    cells = cells.assign(place=place, short=cells["module"].map(short_name))
    return cells.sort_values(["layer", "place", "module"]).reset_index(drop=True)[list(GRID_COLUMNS)]


def _in_layers(run: Run) -> pd.DataFrame:
    """The tensors of the layers, their norms under one module name."""
    rows = reading.tensors(run)
    if rows.empty:
        return rows
    rows = rows[rows["layer"] >= 0]
    return rows.assign(module=rows["module"].where(~rows["module"].str.contains("norm"), NORMS))


def short_name(module: str) -> str:
    """`q_proj` -> `q`."""
    return module.removesuffix("_proj").replace("_", " ")


def _cell(run: Run, layer: int, module: str) -> pd.Series | None:
    """The largest tensor of a cell."""
    rows = _in_layers(run)
    here = rows[(rows["layer"] == layer) & (rows["module"] == module)] if len(rows) else rows
    return None if here.empty else here.loc[here["parameters"].idxmax()]


def singular_values(run: Run, layer: int, module: str) -> pd.DataFrame:
    """The largest singular values of ΔW of one cell's largest tensor -> rank (from 1), value, share (of ‖ΔW‖²)."""
    cell = _cell(run, layer, module)
    values = [] if cell is None or cell["singular_values"] is None else list(cell["singular_values"])
    total = float(cell["change_norm"]) ** 2 if values else 0.0
    frame = pd.DataFrame({"rank": range(1, len(values) + 1), "value": np.asarray(values, dtype=float)})
    return frame.assign(share=np.clip(frame["value"] ** 2 / total, 0, 1) if total > 0 else np.nan)


def tensor_facts(run: Run, layer: int, module: str) -> list[tuple[str, str]]:
    """What the panel of a chosen cell says about its largest tensor: (name, words), only what is known."""
    cell = _cell(run, layer, module)
    if cell is None:
        return []
    spectrum = singular_values(run, layer, module)
    rank = words.decimal(cell["stable_rank"])
    gap = words.cosine_gap(cell["one_minus_cosine"])
    floor = float(cell["noise_floor"])
    facts = (
        ("Relative change", words.percent(cell["relative_change"], digits=2)),
        ("Rounding alone", words.percent(floor, digits=2) if floor > 0 else ""),
        ("Rank-one share", words.percent(spectrum["share"].iloc[0], digits=0) if len(spectrum) else ""),
        ("Stable rank", rank + (f" of {len(spectrum)}" if rank and cell["kind"] == "lora" and len(spectrum) else "")),
        ("Turned by", f"1 − cosine = {gap}" if gap else ""),
        ("Entries changed", words.percent(cell["share_changed"])),
        ("Largest entry", words.significant(cell["largest_change"])),
        ("Parameters", words.count(cell["parameters"])),
    )
    return [(name, said) for name, said in facts if said]


def top_tensors(run: Run, n: int = 20) -> pd.DataFrame:
    """The `n` tensors with the largest relative change, those that did not move left out.

    -> tensor, layer (-1: outside the layers), module, parameters, relative_change, one_minus_cosine, share_changed,
    largest_change, stable_rank, spectral_norm.
    """
    rows = reading.tensors(run)
    if rows.empty:
        return reading.table([], TENSOR_COLUMNS)
    moved = rows[rows["change_norm"] > 0].sort_values("relative_change", ascending=False, kind="stable")
    return moved.head(n)[list(TENSOR_COLUMNS)].reset_index(drop=True)


def has_moved(run: Run) -> bool | None:
    """Whether any tensor changed beyond rounding; None when the run has no weights to look at."""
    rows = reading.tensors(run)
    if rows.empty:
        return None
    return bool(((rows["change_norm"] > 0) & (rows["relative_change"] > rows["noise_floor"].fillna(0))).any())


def parameter_table(run: Run) -> pd.DataFrame:
    """How many numbers -> what, zero_shot, fine_tuned, change: ready-made texts, since their units differ."""
    counts, rows = reading.scores(run).get("parameters") or {}, reading.tensors(run)
    total, trainable = counts.get("total"), counts.get("trainable")
    records = []
    if total:
        records.append(("Model", words.count(total), words.count(total), "0"))
    if total and trainable is not None:
        what = "Trained in the adapter" if run.config.resolved().method == "lora" else "Trained"
        records.append((what, "0", words.count(trainable), words.percent(trainable / total)))
    if len(rows):
        moved = int((rows["change_norm"] > 0).sum())
        of = words.count(len(rows))
        share = words.percent(moved / len(rows), digits=0)
        records.append(("Compared tensors that moved", f"0 of {of}", f"{words.count(moved)} of {of}", share))
    return pd.DataFrame(records, columns=["what", "zero_shot", "fine_tuned", "change"])
