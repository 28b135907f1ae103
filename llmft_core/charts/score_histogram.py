"""Does a probability tell the classes apart? One class grows upwards, the other downwards."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

HEIGHT = 260


def score_histogram(frame: pd.DataFrame, threshold: float = 0.5) -> go.Figure:
    """Zero-shot left, fine-tuned right; bars up: the class that should score high, down: the other; dashed: threshold.

    Columns: side, score (what the x axis shows), group (true class; the one that should score high first), low_edge,
    high_edge, count, share (of the class, 0..1).
    """
    if frame.empty:
        return style.empty("No probabilities to show.", HEIGHT)
    groups = list(dict.fromkeys(frame["group"]))
    tallest = frame["share"].max() * 100
    figure = style.figure(HEIGHT, bargap=0, yaxis=_share_axis(tallest), barmode="overlay")
    for number, side in enumerate(style.SIDES):
        axis = "x" if number == 0 else "x2"
        text = f"<b>{style.NAMES[side]}</b> {frame['score'].iloc[0]}"
        domain = [0, 0.475] if number == 0 else [0.525, 1]
        settings = dict(domain=domain, anchor="y", range=[-1, 101], showgrid=False, title=dict(text=text))
        figure.update_layout({axis.replace("x", "xaxis"): settings | style.percent_ticks(step=50)})
        for sign, group in zip((1, -1), groups, strict=False):
            rows = frame[(frame["side"] == side) & (frame["group"] == group)]
            figure.add_trace(_bars(rows, side, sign, axis))
            _name(figure, group, sign, tallest, axis)
        line = dict(color=style.ZERO, width=1, dash="dash")
        figure.add_shape(type="line", xref=axis, x0=threshold * 100, x1=threshold * 100, y0=-1.25 * tallest,
                         y1=1.25 * tallest, line=line)  # fmt: skip
    return figure


def _bars(rows: pd.DataFrame, side: str, sign: int, axis: str) -> go.Bar:
    width = (rows["high_edge"] - rows["low_edge"]).to_numpy() * 100
    said = [
        f"{row.group}, {style.percent(row.low_edge, 0)} to {style.percent(row.high_edge, 0)} %<br>"
        f"{row.count_:,} items, {style.percent(row.share)} %"
        for row in rows.rename(columns={"count": "count_"}).itertuples()
    ]
    colour = style.COLOURS[side]
    return go.Bar(
        x=rows["low_edge"].to_numpy() * 100, y=sign * rows["share"].to_numpy() * 100, width=width * 0.86, offset=0,
        marker=dict(color=colour if sign > 0 else style.fade(colour, 0.25), line=dict(color=colour, width=1)),
        hovertext=said, hoverinfo="text", xaxis=axis,
    )  # fmt: skip


def _name(figure: go.Figure, group: str, sign: int, tallest: float, axis: str) -> None:
    figure.add_annotation(
        text=group, xref=axis, x=0, y=sign * tallest * 1.25, showarrow=False, xanchor="left",
        yanchor="top" if sign > 0 else "bottom",
    )  # fmt: skip


def _share_axis(tallest: float) -> dict:
    """The same scale up and down, and no minus below."""
    step = next((step for step in (5, 10, 20, 25) if tallest / step <= 2.5), 50)
    highest = step * max(1, int(tallest // step))
    values = list(range(-highest, highest + 1, step))
    text = [str(abs(value)) for value in values[:-1]] + [f"{values[-1]} %"]
    reach = 1.25 * max(tallest, 1)
    return dict(range=[-reach, reach], tickvals=values, ticktext=text, zeroline=True, zerolinecolor=style.GRID)
