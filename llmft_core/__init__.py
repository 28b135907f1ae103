"""llmft: what did fine-tuning change? The public Python API by name; nothing is imported before it is used.

run = llmft_core.fine_tune(model="mini", task="sst2")
llmft_core.compare(run)["delta"]["accuracy"]
"""

import importlib

_PUBLIC = {
    "fine_tune": "llmft_core.api",
    "evaluate": "llmft_core.api",
    "compare": "llmft_core.api",
    "weight_changes": "llmft_core.api",
    "score": "llmft_core.api",
    "load_run": "llmft_core.api",
    "list_runs": "llmft_core.api",
    "Run": "llmft_core.run",
    "State": "llmft_core.run",
    "RunConfig": "llmft_core.config",
    "Speaker": "llmft_core.jobs",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'llmft_core' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
