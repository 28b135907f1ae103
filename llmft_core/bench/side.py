"""One turn of one side, inside the child that takes it: calls "module:function", and says what it ran on."""

import importlib
import os
import platform
import sys
from importlib import metadata

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "lm_eval", "trl", "datasets", "safetensors")


def take(where: str, request: dict) -> dict:
    """A side is a function from the request to (seconds of the work alone, n, results, about), here as a dict."""
    module, function = where.split(":")
    seconds, n, results, about = getattr(importlib.import_module(module), function)(request)
    return {"seconds": seconds, "n": n, "results": results, "about": machine() | about}


def machine() -> dict:
    """Device, threads, and the versions of those libraries that this process has loaded."""
    found = {name: metadata.version(name) for name in LIBRARIES if name in sys.modules}
    about: dict = {"python": platform.python_version(), "versions": found, "cores": os.cpu_count()}
    if "torch" in sys.modules:
        import torch

        about |= {"threads": torch.get_num_threads()}
        about |= {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}
    return about
