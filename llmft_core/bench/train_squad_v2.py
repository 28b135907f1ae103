"""Fine-tuning on questions, the first of the official dev part: about ten share a paragraph. Timed, never measured on.

The quality that `--seeds` asks for is learnt from the train part, as it should be.
"""

from functools import partial

from llmft_core.bench import training

TITLE = "fine-tuning on SQuAD v2: prompt trees against TRL and transformers"
DEFAULTS = {"model": "mini", "examples": 600, "rounds": 3, "seeds": 0}
run = partial(training.run, "squad_v2", "test")
table = training.table
