"""Fine-tuning on single sentences, the first rows of the train part: they share an instruction and nothing else."""

from functools import partial

from llmft_core.bench import training

TITLE = "fine-tuning on SST-2: prompt trees against TRL and transformers"
DEFAULTS = {"model": "mini", "examples": 2000, "rounds": 3, "seeds": 0}
run = partial(training.run, "sst2", "train")
table = training.table
