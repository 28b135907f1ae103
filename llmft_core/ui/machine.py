"""What this machine is and who may train on it; read from the system, without torch."""

import os
from pathlib import Path


def device() -> str:
    """`CPU · 2 cores`, or the name of the first NVIDIA GPU."""
    count = cores()
    return f"{gpu() or 'CPU'} · {count} core{'s' * (count != 1)}"


def cores() -> int:
    """Those that we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu() -> str:
    """The name of the first NVIDIA GPU that is visible, or ""."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        return ""
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return ""


def free_memory() -> float | None:
    """Bytes that a new process could take, by the system and by the container; None if unknown."""
    found = [value for value in (_system(), _container()) if value is not None]
    return min(found) if found else None


def _system() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container() -> float | None:
    folder = Path("/sys/fs/cgroup")
    try:
        return float((folder / "memory.max").read_text()) - float((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return None


def why_no_training() -> str:
    """The sentence for those who may not train here, or "". On a public Space training belongs to its owner."""
    if os.environ.get("SPACE_ID") and not os.environ.get("LLMFT_ALLOW_TRAINING"):
        return (
            "Training on this public page is for its owner: duplicate the Space to train your own, "
            "or run llmft on your machine with the command above."
        )
    return ""
