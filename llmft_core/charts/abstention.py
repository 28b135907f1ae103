"""Does it keep silent where there is no answer? Two by two, zero-shot left, fine-tuned right."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style
from llmft_core.charts.pairs import count_grids

ROWS = {True: "has<br>answer", False: "no<br>answer"}  # broken: the columns need the room on a phone
COLUMNS = {False: "answered", True: "abstained"}


def abstention(frame: pd.DataFrame, side: str = "") -> go.Figure:
    """Counts and shares of the questions of a row. Columns: side, has_answer, abstained (bool), count, share (0..1).

    `side` draws one side alone (two plots that stack on a phone); empty: both.
    """
    if frame.empty:
        return style.empty("No abstentions to count.")
    cells = frame.assign(row=frame["has_answer"].map(ROWS), column=frame["abstained"].map(COLUMNS))
    return count_grids(cells, list(ROWS.values()), list(COLUMNS.values()), (side,) if side else style.SIDES)
