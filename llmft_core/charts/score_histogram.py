"""Does a probability tell the classes apart? One class grows upwards, the other downwards."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

HEIGHT = 260
REACH = 1.3  # of the tallest bar: room for the names of the classes


def score_histogram(frame: pd.DataFrame, side: str = "", threshold: float = 0.5) -> go.Figure:
    """Zero-shot left, fine-tuned right; bars up: the class that should score high, down: the other; dashed: threshold.

    Columns: side, score (its name), group (true class; the one that should score high first), low_edge, high_edge,
    count, share (of the class, 0..1). `side` draws one side alone (two plots that stack on a phone); empty: both.
    """
    if frame.empty:
        return style.empty("No probabilities to show.", HEIGHT)
    groups = list(dict.fromkeys(frame["group"]))
    tallest = max(frame["share"].max() * 100, 1.0)
    figure = style.figure(HEIGHT, yaxis=_share_axis(tallest), barmode="overlay", margin=dict(r=24))
    sides = (side,) if side else style.SIDES
    for name, (axis, domain) in zip(sides, style.beside(len(sides)), strict=True):
        title = dict(text=f"<b>{style.NAMES[name]}</b>" if not side else frame["score"].iloc[0])
        ticks = style.percent_ticks(step=50) if name == sides[-1] else dict(tickvals=[0, 50], ticktext=["0", "50"])
        settings = dict(domain=domain, anchor="y", range=[-1, 101], showgrid=False, title=title)
        figure.update_layout({axis.replace("x", "xaxis"): settings | ticks})
        for sign, group in zip((1, -1), groups, strict=False):
            rows = frame[(frame["side"] == name) & (frame["group"] == group)]
            figure.add_trace(_bars(rows, name, sign, axis))
            _name(figure, group, sign, tallest, axis)
        _threshold(figure, threshold, tallest, axis)
    return figure


def _bars(rows: pd.DataFrame, side: str, sign: int, axis: str) -> go.Bar:
    width = (rows["high_edge"] - rows["low_edge"]).to_numpy() * 100
    said = [
        f"{row.group}, {style.percent(row.low_edge, 0)} to {style.percent(row.high_edge, 0)} %<br>"
        f"{row.items_here:,} items, {style.percent(row.share)} %"
        for row in rows.rename(columns={"count": "items_here"}).itertuples()
    ]
    colour = style.COLOURS[side]
    return go.Bar(
        x=rows["low_edge"].to_numpy() * 100, y=sign * rows["share"].to_numpy() * 100, width=width * 0.86, offset=0,
        marker=dict(color=colour if sign > 0 else style.fade(colour, 0.25), line=dict(color=colour, width=1)),
        hovertext=said, hoverinfo="text", xaxis=axis,
    )  # fmt: skip


def _name(figure: go.Figure, group: str, sign: int, tallest: float, axis: str) -> None:
    figure.add_annotation(
        text=group, xref=axis, x=0, y=sign * tallest * REACH, showarrow=False, xanchor="left",
        yanchor="top" if sign > 0 else "bottom",
    )  # fmt: skip


def _threshold(figure: go.Figure, threshold: float, tallest: float, axis: str) -> None:
    ends = dict(x0=threshold * 100, x1=threshold * 100, y0=-REACH * tallest, y1=REACH * tallest)
    figure.add_shape(type="line", xref=axis, **ends, line=dict(color=style.ZERO, width=1, dash="dash"))


def _share_axis(tallest: float) -> dict:
    """The same scale up and down, and no minus below."""
    step = next((step for step in (1, 2, 5, 10, 20, 25) if tallest / step <= 2.5), 50)
    highest = step * max(1, int(tallest // step))
    values = list(range(-highest, highest + 1, step))
    text = [str(abs(value)) for value in values[:-1]] + [f"{values[-1]} %"]
    reach = REACH * tallest
    return dict(range=[-reach, reach], tickvals=values, ticktext=text, zeroline=True, zerolinecolor=style.GRID)
