"""Can its probabilities be trusted? Predicted probability against the share that came true."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

HEIGHT = 360


def reliability(frame: pd.DataFrame) -> go.Figure:
    """A curve per side with 95 % whiskers; on the dashed diagonal, probabilities are what they say.

    Columns: side, predicted, observed, low, high (0..1), n; one row per side and bin.
    """
    if frame.empty:
        return style.empty("No probabilities to check.", HEIGHT)
    axis = dict(range=[-3, 103], **style.percent_ticks())
    figure = style.figure(
        HEIGHT, xaxis=axis | dict(title=dict(text="predicted P(positive)")),
        yaxis=axis | dict(title=dict(text="observed share positive")),
    )  # fmt: skip
    dashed = dict(color=style.ZERO, width=1, dash="dash")
    figure.add_scatter(x=[0, 100], y=[0, 100], mode="lines", line=dashed, hoverinfo="skip")
    for side in style.SIDES:
        rows = frame[frame["side"] == side].sort_values("predicted")
        for row in rows.itertuples():
            figure.add_trace(
                style.whisker(row.low * 100, row.high * 100, style.COLOURS[side], "y", row.predicted * 100)
            )
        said = [_said(row) for row in rows.itertuples()]
        figure.add_scatter(
            x=rows["predicted"].to_numpy() * 100, y=rows["observed"].to_numpy() * 100, mode="lines+markers",
            line=dict(color=style.COLOURS[side], width=2), marker=style.marker(side, 8),
            hovertext=said, hoverinfo="text",
        )  # fmt: skip
    return figure


def _said(row) -> str:
    between = style.interval(row.low, row.high)
    return (
        f"{style.NAMES[row.side]}, given {style.percent(row.predicted)} % on average<br>"
        f"{style.percent(row.observed)} %{between} are positive<br>n = {row.n:,}"
    )
