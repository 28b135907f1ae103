"""Scores: strings and numbers in, numbers out, all in 0..1.

`squad` holds the official SQuAD v2 rules, `overlap` BLEU, METEOR and ROUGE, `classification` the scores of label
tasks, `calibration` how far probabilities can be trusted, `abstention` the no-answer threshold, and `tally` the form
in which a bootstrap can weigh a metric thousands of times. Slow libraries are imported by the first call that needs
them.
"""

from llmft_core.metrics.abstention import abstained, apply_threshold, best_threshold, threshold_report
from llmft_core.metrics.calibration import calibrate, calibration_error, label_prior, reliability
from llmft_core.metrics.classification import classification, classification_tally, confusion
from llmft_core.metrics.overlap import (
    bleu_from_stats,
    bleu_stats,
    corpus_bleu,
    meteor,
    meteor_uses_synonyms,
    overlap_item,
    rouge,
    sentence_bleu,
)
from llmft_core.metrics.squad import contains_gold, exact_match, f1, normalise, squad_item
from llmft_core.metrics.squad_table import squad_summary, squad_tally
from llmft_core.metrics.tally import Tally

__all__ = [
    "Tally",
    "abstained",
    "apply_threshold",
    "best_threshold",
    "bleu_from_stats",
    "bleu_stats",
    "calibrate",
    "calibration_error",
    "classification",
    "classification_tally",
    "confusion",
    "contains_gold",
    "corpus_bleu",
    "exact_match",
    "f1",
    "label_prior",
    "meteor",
    "meteor_uses_synonyms",
    "normalise",
    "overlap_item",
    "reliability",
    "rouge",
    "sentence_bleu",
    "squad_item",
    "squad_summary",
    "squad_tally",
    "threshold_report",
]
