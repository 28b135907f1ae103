"""Before and after: a dumbbell per metric, from the zero-shot to the fine-tuned value."""

import math

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

ENDS = {"zero_shot": ("zero_low", "zero_high"), "fine_tuned": ("fine_low", "fine_high")}
CLOSE = 20.0  # points of difference under which two values above their marks run into each other on a phone


def before_after(frame: pd.DataFrame) -> go.Figure:
    """A row per metric: hollow zero-shot, solid fine-tuned, 95 % whiskers, values above, connector orange when worse.

    Columns: title, zero_shot, zero_low, zero_high, fine_tuned, fine_low, fine_high, better (True, False, None),
    baseline (trivial answer: a tick), ceiling (a hollow triangle); 0..1, NaN is not drawn.
    """
    if frame.empty:
        return style.empty("Nothing measured yet.")
    rows = list(frame.itertuples(index=False))
    yaxis = dict(
        range=[len(rows) - 0.5, -0.7], tickvals=list(range(len(rows))), ticktext=list(frame["title"]), showgrid=False,
    )  # fmt: skip
    xaxis = dict(range=[-2, 104], **style.percent_ticks())
    figure = style.figure(60 * len(rows) + 44, xaxis=xaxis, yaxis=yaxis)
    figure.add_traces([_connector(at, row) for at, row in enumerate(rows)])
    figure.add_trace(_marks(frame["baseline"], "line-ns", 14, "trivial baseline"))
    figure.add_trace(_marks(frame["ceiling"], "triangle-left-open", 9, "ceiling"))
    for side, ends in ENDS.items():
        for at, row in enumerate(rows):
            low, high = (getattr(row, end) * 100 for end in ends)
            if math.isfinite(low) and math.isfinite(high):
                figure.add_trace(style.whisker(low, high, style.COLOURS[side], "x", at))
    figure.add_traces([_points(rows, side) for side in style.SIDES])
    return figure


def _connector(at: int, row) -> go.Scatter:
    colour = style.fade(style.BROKEN, 0.45) if row.better is False else style.fade(style.ZERO, 0.35)
    ends = [row.zero_shot * 100, row.fine_tuned * 100]
    return go.Scatter(x=ends, y=[at, at], mode="lines", line=dict(color=colour, width=6), hoverinfo="skip")


def _marks(values: pd.Series, symbol: str, size: int, name: str) -> go.Scatter:
    return go.Scatter(
        x=values.to_numpy(dtype=float) * 100, y=list(range(len(values))), mode="markers", cliponaxis=False,
        marker=dict(symbol=symbol, size=size, color=style.ZERO, line=dict(width=2, color=style.ZERO)),
        hovertemplate=f"{name} %{{x:.1f}} %<extra></extra>",
    )  # fmt: skip


def _points(rows: list, side: str) -> go.Scatter:
    values = [getattr(row, side) for row in rows]
    said = [
        f"{style.NAMES[side]} {style.percent(v)} %{_between(row, side)}" for row, v in zip(rows, values, strict=True)
    ]
    return go.Scatter(
        x=[value * 100 for value in values], y=list(range(len(rows))), mode="markers+text", cliponaxis=False,
        marker=style.marker(side, 13 if side == "fine_tuned" else 12), text=[style.percent(value) for value in values],
        textposition=[_place(row, side) for row in rows], textfont=dict(size=14), hovertext=said, hoverinfo="text",
    )  # fmt: skip


def _between(row, side: str) -> str:
    return style.interval(*(getattr(row, end) for end in ENDS[side]))


def _place(row, side: str) -> str:
    """Above the mark; two marks close together push their values apart."""
    gap = (row.fine_tuned - row.zero_shot) * 100
    if not abs(gap) < CLOSE:
        return "top center"
    return "top right" if (gap >= 0) == (side == "fine_tuned") else "top left"
