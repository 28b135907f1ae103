"""Which label for which: gold against predicted, zero-shot left, fine-tuned right."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style
from llmft_core.charts.pairs import paired_grids


def confusion(frame: pd.DataFrame) -> go.Figure:
    """Counts and shares of the gold label's items; a column `invalid` where an answer was no label.

    Columns: side, gold, predicted, count, share (0..1). The column `invalid` is drawn only if something is in it.
    """
    if frame.empty:
        return style.empty("No labels to compare.")
    counts = frame.groupby("predicted", sort=False)["count"].sum()
    columns = [name for name in counts.index if name != "invalid" or counts[name] > 0]
    cells = frame.rename(columns={"gold": "row", "predicted": "column"})
    return paired_grids(cells, list(dict.fromkeys(frame["gold"])), columns, "answered", "is")
