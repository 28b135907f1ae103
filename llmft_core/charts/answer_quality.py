"""Exact match and F1 of questions with and without an answer, zero-shot beside fine-tuned."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

HEIGHT = 320
METRICS = {"exact_match": "exact match", "f1": "F1"}


def answer_quality(frame: pd.DataFrame) -> go.Figure:
    """Two bars per metric and kind of question, with 95 % whiskers and the value above.

    Columns: side, metric (exact_match, f1), group (answerable, unanswerable), value, low, high (0..1).
    """
    if frame.empty:
        return style.empty("No questions to compare.", HEIGHT)
    places = list(dict.fromkeys(zip(frame["group"], frame["metric"], strict=True)))
    names = [f"{METRICS.get(metric, metric)}<br>{group}" for group, metric in places]
    figure = style.figure(
        HEIGHT, bargap=0.35, bargroupgap=0.08, barmode="group", yaxis=dict(range=[0, 112], **style.percent_ticks()),
        xaxis=dict(showgrid=False, tickvals=list(range(len(places))), ticktext=names, tickangle=0),
    )  # fmt: skip
    for side in style.SIDES:
        rows = frame[frame["side"] == side]
        figure.add_traces(
            _bars(rows, side, [places.index(key) for key in zip(rows["group"], rows["metric"], strict=True)])
        )
    return figure


def _bars(rows: pd.DataFrame, side: str, at: list[int]) -> list[go.Bar | go.Scatter]:
    """The bars, and their values above the whisker's end."""
    colour, values = style.COLOURS[side], rows["value"].to_numpy() * 100
    up, down = ((rows["high"] - rows["value"]).to_numpy() * 100, (rows["value"] - rows["low"]).to_numpy() * 100)
    said = [
        f"{style.NAMES[side]} {style.percent(row.value)} %{style.interval(row.low, row.high)}"
        for row in rows.itertuples()
    ]
    offset = -0.16 if side == "zero_shot" else 0.16
    bars = go.Bar(
        x=at, y=values, width=0.28, offset=offset - 0.14, hovertext=said, hoverinfo="text",
        marker=dict(color=style.fade(colour, 0.25 if side == "zero_shot" else 1), line=dict(color=colour, width=2)),
        error_y=dict(type="data", array=up, arrayminus=down, width=0, thickness=2, color=_over(side)),
    )  # fmt: skip
    above = go.Scatter(
        x=[place + offset for place in at], y=rows["high"].fillna(rows["value"]).to_numpy() * 100, mode="text",
        text=[style.percent(value) for value in rows["value"]], textposition="top center", textfont=dict(size=14),
        hoverinfo="skip", cliponaxis=False,
    )  # fmt: skip
    return [bars, above]


def _over(side: str) -> str:
    """A whisker runs over its own bar, so the solid bar's has another colour."""
    return style.ZERO if side == "zero_shot" else style.TEXT
