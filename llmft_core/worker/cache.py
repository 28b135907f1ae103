"""Zero-shot predictions that were made before, found by everything they depend on and never by a name."""

import hashlib
import os
from pathlib import Path

import pandas as pd

from llmft_core import files, runs
from llmft_core.worker import provenance
from llmft_core.worker.lessons import Lessons


def key(parts: Lessons) -> str:
    """A digest of the weights, the data, the prompt, the precision and the code."""
    decides = {
        "weights": provenance.weights_digest(parts.lm.causal.state_dict()),
        "test": [(example.id, example.answers) for example in parts.data.test],
        "prompts": hashlib.sha256(
            "".join("".join(parts.prompter.text(parts.task.prompt(example))) for example in parts.data.test).encode()
        ).hexdigest(),
        "longest": parts.longest,
        "dtype": str(parts.lm.causal.dtype),
        "device": parts.lm.device.type,
        "code": provenance.code_digest(),
    }
    return hashlib.sha256(files.to_json(decides).encode()).hexdigest()[:32]


def read(name: str) -> tuple[pd.DataFrame, float] | None:
    """The rows and the seconds that they took, or None. A damaged entry counts as absent."""
    try:
        rows = pd.read_parquet(_path(name))
        return rows.drop(columns="seconds"), float(rows["seconds"].iloc[0])
    except Exception:  # whatever is wrong with a cache, the answer is to compute again
        return None


def write(name: str, rows: pd.DataFrame, seconds: float) -> None:
    """Keep rows for the next run; a full disk or a read-only place is no reason to fail."""
    path = _path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        rows.assign(seconds=seconds).to_parquet(part, index=False)
        os.replace(part, path)
    except OSError:
        return


def _path(name: str) -> Path:
    return runs.root() / ".zero-shot" / f"{name}.parquet"
