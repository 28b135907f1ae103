"""What every child process of ours finds in its environment, and how one is ended."""

import contextlib
import os
import subprocess
from pathlib import Path

PACKAGE_PARENT = Path(__file__).resolve().parent.parent.parent
QUICK = {
    "OMP_WAIT_POLICY": "PASSIVE",  # a waiting thread that spins takes the other process's core
    "GOMP_SPINCOUNT": "20000",  # the OpenMP that torch ships heeds this instead: `engine.threads` keeps out of the way
    # glibc hands each large tensor back to the system, which fills its pages with zeros anew for the next: a third of
    # the time of an evaluation. So those under 32 MB (its limit) come from a heap that is kept.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    # oneDNN keeps what it made for the last 1,024 shapes of products. Hardly two passes of a training are of one shape,
    # so most of it is never asked for again: a fifth of the memory in which a small model learns.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}
POLITE = {
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore::FutureWarning",  # of one library about another: nothing that a person can act on
}


def environment(root: Path, is_quick: bool = True, **more: str) -> dict[str, str]:
    """What a child finds in its environment; without `is_quick`, threads and memory are as our own."""
    path = os.pathsep.join(filter(None, (str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", ""))))
    ours = {"PYTHONPATH": path, "LLMFT_RUNS_DIR": str(root), "LLMFT_RESUME": ""}
    return os.environ | (QUICK if is_quick else {}) | POLITE | ours | more


def end(child: subprocess.Popen, grace: float = 3.0) -> None:
    """SIGTERM, then SIGKILL, then gone."""
    for stage in (child.terminate, child.kill):
        with contextlib.suppress(ProcessLookupError):
            stage()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
            return
