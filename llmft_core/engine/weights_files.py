"""Safetensors folders as streams: which tensors a model has, where they lie, and their rows block by block.

Only headers are parsed and only the bytes asked for are read, with plain reads rather than a memory map: pages of a
map stay in the process's memory, and 2 x 2.5 GB of them would break the promise of bounded memory.
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from llmft_core.engine import threads

BLOCK = (
    1 << 19
)  # elements read at once; measured best of 2^14 to 2^24: three float32 blocks fit into a core's share of L3
MOST_WORKERS = 4  # each may hold one float32 matrix; more would need more memory, not less time (the disk is the limit)
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
BUFFERS = re.compile(r"rotary_emb\.inv_freq$")  # old checkpoints store constants beside the weights
INPUT_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings)\.weight$")
Job, Result = TypeVar("Job"), TypeVar("Result")


class Stored(NamedTuple):
    """A tensor in a file: its first byte is at `start`."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns): a vector is one row; further leading dimensions (experts) are stacked into the rows."""
        columns = self.shape[-1] if self.shape else 1
        return self.size // columns if columns else 0, columns

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def tensors(folder: Path) -> dict[str, Stored]:
    """The weights of a model folder by name: one file or shards, tied embeddings once, constants left out.

    Raises ValueError if the folder is no model in safetensors, a file is damaged, or the weights are quantised.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}: give the folder of a model in Hub format.")
    config = read_config(folder / "config.json")
    if config.get("quantization_config"):
        raise ValueError(
            f"The model in {folder} is quantised, its weights cannot be compared: give the unquantised one."
        )
    found: dict[str, Stored] = {}
    for path, names in _files(folder):
        inside = header(path)
        if missing := sorted(set(names or inside) - set(inside)):
            raise ValueError(
                f"{path} lacks {some(missing)}, which the index promises: download or save the model again."
            )
        found |= {name: inside[name] for name in names or inside}
    if is_tied(config) and any(INPUT_EMBEDDING.search(name) for name in found):
        found = {name: stored for name, stored in found.items() if not name.endswith("lm_head.weight")}
    return {name: stored for name, stored in found.items() if not BUFFERS.search(name)}


def is_tied(config: dict) -> bool:
    """Whether input and output embedding are one matrix, as far as the config says."""
    inner = config.get("text_config")
    return bool(config.get("tie_word_embeddings", isinstance(inner, dict) and inner.get("tie_word_embeddings")))


def read_config(path: Path) -> dict:
    """A JSON object, {} if there is no such file. Raises ValueError if it is damaged."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged (not a JSON object): download or save the folder again.")
    return value


def _files(folder: Path) -> list[tuple[Path, list[str] | None]]:
    """Each safetensors file with the names to take from it (None: all)."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [(single, None)]
    if not index.is_file():
        if any(folder.glob("*.bin")):
            raise ValueError(f"{folder} holds pickled weights only, which are never opened: save it as safetensors.")
        raise ValueError(f"{folder} holds no model.safetensors: give the folder of a model in Hub format.")
    shards: dict[str, list[str]] = {}
    parts = read_config(index).get("weight_map")
    for name, shard in parts.items() if isinstance(parts, dict) else ():
        # a plain file name: an index must not lead out of its folder
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{index} names {shard!r}, which is no safetensors file of the folder: download it again.")
        shards.setdefault(shard, []).append(name)
    if not shards:
        raise ValueError(f"{index} is damaged (it names no tensors): download or save the model again.")
    return [(folder / shard, names) for shard, names in sorted(shards.items())]


def header(path: Path) -> dict[str, Stored]:
    """The floating-point tensors of one safetensors file. Raises ValueError if it is missing, damaged or quantised."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}: download or save the model again.")
    try:
        with safe_open(path, framework="numpy"), path.open("rb") as file:  # opening it checks sizes and offsets
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or no safetensors file ({error}): download or save it again.") from None
    found = {}
    for name, entry in entries.items():
        if name == "__metadata__" or (name_type := entry["dtype"]).startswith(("I", "U", "BOOL")):
            continue
        if name_type not in FLOATS:
            raise ValueError(f"{name} in {path} is stored as {name_type} (quantised): give the unquantised model.")
        start = 8 + length + entry["data_offsets"][0]
        found[name] = Stored(path, FLOATS[name_type], tuple(entry["shape"]), start)
    return found


def blocks(stored: Stored) -> Iterator[torch.Tensor]:
    """The tensor as float32 matrices [rows, columns] of about BLOCK elements; each is overwritten by the next."""
    room = None
    for values in raw_blocks(stored):
        room = torch.empty(values.shape) if room is None else room
        yield widened(values, room)


def widened(values: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    """The block in float32: itself, or written into `room` (its shape or more rows)."""
    return values if values.dtype == torch.float32 else room[: len(values)].copy_(values)


def raw_blocks(stored: Stored) -> Iterator[torch.Tensor]:
    """The same in the type that the file holds, as it lies there."""
    total, columns = stored.matrix
    step = max(1, min(total, BLOCK // max(columns, 1)))
    raw = torch.empty(step * columns * stored.dtype.itemsize, dtype=torch.uint8)
    values = raw.view(stored.dtype).view(step, columns)
    with stored.path.open("rb", buffering=0) as file:
        file.seek(stored.start)
        if hasattr(os, "posix_fadvise"):  # the disk works ahead while we calculate
            os.posix_fadvise(
                file.fileno(), stored.start, total * columns * stored.dtype.itemsize, os.POSIX_FADV_WILLNEED
            )
        for first in range(0, total, step):
            count = min(step, total - first)
            _fill(file, raw[: count * columns * stored.dtype.itemsize])
            yield values[:count]


def _fill(file: FileIO, buffer: torch.Tensor) -> None:
    view = memoryview(buffer.numpy())
    while len(view):
        got = file.readinto(view)
        if not got:
            raise ValueError(f"{file.name} became shorter while it was read: wait until it is written, then try again.")
        view = view[got:]


def whole(stored: Stored) -> torch.Tensor:
    """All of a small tensor, float32 [rows, columns]."""
    return torch.cat([block.clone() for block in blocks(stored)]) if stored.size else torch.empty(stored.matrix)


def place(name: str) -> tuple[int, str]:
    """(layer, module) of a tensor: `model.layers.3.self_attn.q_proj.weight` -> (3, "q_proj"); -1 outside the layers."""
    layer = re.search(r"(?:^|\.)(\d+)\.", name)
    module = name.removesuffix(".weight").removesuffix(".bias").rsplit(".", 1)[-1]
    return int(layer[1]) if layer else -1, module


def parameter_counts(folder: Path) -> dict:
    """{"total": int, "by_module": {"q_proj": int, …}} from the headers alone; tied embeddings count once.

    Modules in the order of the model's file. Raises ValueError like `tensors`.
    """
    by_module: dict[str, int] = {}
    for name, stored in tensors(folder).items():
        module = place(name)[1]
        by_module[module] = by_module.get(module, 0) + stored.size
    return {"total": sum(by_module.values()), "by_module": by_module}


def some(names: Iterable[str]) -> str:
    """The first name, and how many more there are."""
    first, *others = names
    return f"{first} (and {len(others)} more)" if others else first


def in_parallel(work: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """`work` on every job, a thread per core (at most MOST_WORKERS) and each calculating on one core; results in order.

    One thread per tensor beats two per operation: blocks are small, so threads that share one spend their time meeting.
    """
    threads.fit()
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(min(MOST_WORKERS, cores))
    try:
        return list(pool.map(work, jobs))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)
