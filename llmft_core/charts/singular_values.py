"""How many directions a change has: the singular values of ΔW of one tensor."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

HEIGHT = 200


def singular_values(frame: pd.DataFrame) -> go.Figure:
    """A bar per singular value, largest first. Columns: rank (from 1), value, share (of ‖ΔW‖², 0..1)."""
    if frame.empty:
        return style.empty("No singular values of this tensor.", HEIGHT)
    figure = style.figure(
        HEIGHT, bargap=0.4, yaxis=dict(rangemode="tozero", nticks=4),
        xaxis=dict(showgrid=False, title=dict(text="singular value of ΔW"), dtick=1 if len(frame) <= 16 else None),
    )  # fmt: skip
    shares = [f"<br>{style.percent(share)} % of the change" if share == share else "" for share in frame["share"]]
    figure.add_bar(
        x=frame["rank"].to_numpy(), y=frame["value"].to_numpy(), marker=dict(color=style.TUNED), customdata=shares,
        hovertemplate="number %{x}: %{y:.3~g}%{customdata}<extra></extra>",
    )  # fmt: skip
    return figure
