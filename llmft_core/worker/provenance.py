"""Where a result comes from: versions, device, code, data and weights, as digests."""

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "datasets",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "sacrebleu",
    "nltk",
    "rouge-score",
)
ROOM = Path(__file__).resolve().parent.parent
DECIDES = ("engine", "tasks", "metrics", "statistics")  # the code that a score depends on


def environment(source: str, fingerprint: dict, base: str, training_precision: str) -> dict:
    """The contents of environment.json; `base` is the digest of the model's files (see `checks.base_digest`)."""
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if cuda else f"CPU · {os.cpu_count()} cores",
        "platform": f"{platform.system()} {platform.machine()}",
        "code": code_digest(),
        "base": base,
        "training_precision": training_precision,
        "data": {"source": source, **fingerprint},
    }


def code_digest() -> str:
    """Twelve hex digits over the source of everything that decides a score."""
    digest = hashlib.sha256()
    for path in sorted(ROOM.rglob("*.py")):
        if path.relative_to(ROOM).parts[0].removesuffix(".py") in DECIDES:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def weights_digest(state: dict[str, torch.Tensor]) -> str:
    """Sixteen hex digits over names, shapes and values of a state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data
            if tensor.dim()
            else str(tensor.item()).encode()
        )
    return digest.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
