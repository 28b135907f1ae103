"""Runs in, tidy data frames out: everything that a chart or a table shows, with missing numbers as NaN.

`training` holds the list of runs and the learning curve, `results` the metrics and the flipped items, `answers` what
lies behind a score, `changes` the weights. A run without the file in question gives an empty frame with its columns.
"""

from llmft_core.frames.answers import abstention, answer_quality, confusion, reliability, score_histogram
from llmft_core.frames.changes import (
    has_moved,
    parameter_table,
    singular_values,
    tensor_facts,
    top_tensors,
    weight_grid,
)
from llmft_core.frames.results import flips, item_table, metric_table
from llmft_core.frames.training import learning_curve, runs_table

__all__ = [
    "abstention",
    "answer_quality",
    "confusion",
    "flips",
    "has_moved",
    "item_table",
    "learning_curve",
    "metric_table",
    "parameter_table",
    "reliability",
    "runs_table",
    "score_histogram",
    "singular_values",
    "tensor_facts",
    "top_tensors",
    "weight_grid",
]
