"""What it shows: pure functions from a data frame of `frames` to a plotly figure, one picture a file.

`charts.reliability(frames.reliability(run))`: the columns stand in each docstring, an empty frame gives a sentence.
Nothing here reads a disk or knows whether the page is dark. Titles, legends and captions are the page's, in HTML.
"""

from llmft_core.charts.abstention import abstention
from llmft_core.charts.answer_quality import answer_quality
from llmft_core.charts.before_after import before_after
from llmft_core.charts.confusion import confusion
from llmft_core.charts.learning_curve import loss_curve, probe_curve
from llmft_core.charts.reliability import reliability
from llmft_core.charts.score_histogram import score_histogram
from llmft_core.charts.singular_values import singular_values
from llmft_core.charts.weight_heatmap import weight_heatmap

__all__ = [
    "abstention",
    "answer_quality",
    "before_after",
    "confusion",
    "loss_curve",
    "probe_curve",
    "reliability",
    "score_histogram",
    "singular_values",
    "weight_heatmap",
]
