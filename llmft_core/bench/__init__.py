"""How fast: ours and a public tool on the same work, in turn on one machine, each turn a process of its own.

A bench is a module with TITLE (one line), DEFAULTS (its options), `run(options, say)` -> report, and `table(report)`.
"""

import importlib

NAMES = ("packing", "evaluate-sst2", "evaluate-squad_v2", "app", "gpu", "scaling")


def find(name: str):
    """The module of a bench. Raises ValueError for an unknown name."""
    if name not in NAMES:
        raise ValueError(f"Unknown bench '{name}'. Choose one of: {', '.join(NAMES)}.")
    return importlib.import_module(f"llmft_core.bench.{name.replace('-', '_')}")
