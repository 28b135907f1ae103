"""Exact match and F1 of questions with and without an answer, zero-shot above fine-tuned."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

METRICS = {"exact_match": "Exact match", "f1": "F1"}
PLACES = {"zero_shot": -0.17, "fine_tuned": 0.17}  # of a bar's middle from the middle of its row
WIDTH = 0.28
DEPTHS = {"zero_shot": 0.12, "fine_tuned": 0.5}  # of the fill: the whisker has to be seen on its own bar


def answer_quality(frame: pd.DataFrame) -> go.Figure:
    """A row per metric and kind of question, a bar per side, with 95 % whiskers and the value behind them.

    Columns: side, metric (exact_match, f1), group (answerable, unanswerable), value, low, high (0..1).
    """
    if frame.empty:
        return style.empty("No questions to compare.")
    rows = list(dict.fromkeys(zip(frame["group"], frame["metric"], strict=True)))
    names = [f"{METRICS.get(metric, metric)}<br>{group}" for group, metric in rows]
    yaxis = dict(showgrid=False, tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.5, -0.5])
    figure = style.figure(
        60 * len(rows) + 44, barmode="overlay", yaxis=yaxis, xaxis=dict(range=[0, 108], **style.percent_ticks())
    )
    for side in style.SIDES:
        here = frame[frame["side"] == side]
        middles = [rows.index(key) + PLACES[side] for key in zip(here["group"], here["metric"], strict=True)]
        figure.add_traces([_bars(here, side, middles), *_whiskers(here, side, middles), _values(here, middles)])
    return figure


def _bars(rows: pd.DataFrame, side: str, middles: list[float]) -> go.Bar:
    colour = style.COLOURS[side]
    said = [
        f"{style.NAMES[side]} {style.percent(row.value)} %{style.interval(row.low, row.high)}"
        for row in rows.itertuples()
    ]
    return go.Bar(
        x=rows["value"].to_numpy() * 100, y=middles, width=WIDTH, orientation="h", hovertext=said, hoverinfo="text",
        marker=dict(color=style.fade(colour, DEPTHS[side]), line=dict(color=colour, width=1)),
    )  # fmt: skip


def _whiskers(rows: pd.DataFrame, side: str, middles: list[float]) -> list[go.Scatter]:
    known = [(row, at) for row, at in zip(rows.itertuples(), middles, strict=True) if row.low == row.low]
    return [style.whisker(row.low * 100, row.high * 100, style.COLOURS[side], "x", at) for row, at in known]


def _values(rows: pd.DataFrame, middles: list[float]) -> go.Scatter:
    ends = rows[["value", "high"]].max(axis=1).to_numpy() * 100
    return go.Scatter(
        x=ends, y=middles, mode="text", text=[f" {style.percent(value)}" for value in rows["value"]],
        textposition="middle right", textfont=dict(size=14), hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
