"""The child processes: one trains, one answers the playground, one does a single job; `jobs` starts them by name."""

import logging

# It warns of prompts that are longer than the model reads: we cut them, or say ourselves that they do not fit.
logging.getLogger("transformers.tokenization_utils_base").setLevel(logging.ERROR)
