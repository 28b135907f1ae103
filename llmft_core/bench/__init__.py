"""How fast: ours and a public tool on the same work, in turn on one machine, each turn a process of its own.

A bench is a module with TITLE (one line), DEFAULTS (its options), `run(options, say)` -> report, and `table(report)`.
"""

import importlib

MODULES = {  # the file of each, by its name
    "packing": "packing",
    "evaluate-sst2": "evaluate_sst2",
    "evaluate-squad_v2": "evaluate_squad_v2",
    "train-sst2": "train_sst2",
    "train-squad_v2": "train_squad_v2",
    "weights": "weights",
    "try": "both_sides",
    "app": "app",
    "scaling": "scaling",
    "gpu": "gpu",
}
NAMES = tuple(MODULES)


def find(name: str):
    """The module of a bench. Raises ValueError for an unknown name."""
    if name not in MODULES:
        raise ValueError(f"Unknown bench '{name}'. Choose one of: {', '.join(NAMES)}.")
    return importlib.import_module(f"llmft_core.bench.{MODULES[name]}")
