"""How it learns: torch, transformers, peft and datasets live here, and only the worker's processes import this."""
