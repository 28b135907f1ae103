"""Which label for which: gold (down) against answered (across), zero-shot left, fine-tuned right."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style
from llmft_core.charts.pairs import count_grids


def confusion(frame: pd.DataFrame, side: str = "") -> go.Figure:
    """Counts and shares of the gold label's items; a column `invalid` where an answer was no label.

    Columns: side, gold, predicted, count, share (0..1). The column `invalid` is drawn only if something is in it on
    either side. `side` draws one side alone (two plots that stack on a phone); empty: both.
    """
    if frame.empty:
        return style.empty("No labels to compare.")
    counts = frame.groupby("predicted", sort=False)["count"].sum()
    columns = [name for name in counts.index if name != "invalid" or counts[name] > 0]
    cells = frame.rename(columns={"gold": "row", "predicted": "column"})
    return count_grids(cells, list(dict.fromkeys(frame["gold"])), columns, (side,) if side else style.SIDES)
