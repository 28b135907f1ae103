"""What it learns while it learns: the loss, and the score on the probe items, over the steps."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

HEIGHT = 240


def loss_curve(frame: pd.DataFrame) -> go.Figure:
    """Mean loss of the answer tokens by step. Columns: step, steps (the last one planned), loss.

    The x axis reaches to the last planned step from the start, so that a running figure never rescales sideways.
    """
    steps = frame.dropna(subset=["loss"]) if len(frame) else frame
    if steps.empty:
        return style.empty("No step yet.", HEIGHT)
    figure = style.figure(HEIGHT, xaxis=_step_axis(frame), yaxis=dict(rangemode="tozero", nticks=5))
    figure.add_scatter(
        x=steps["step"].to_numpy(), y=steps["loss"].to_numpy(), mode="lines" if len(steps) > 1 else "markers",
        line=dict(color=style.TUNED, width=2), marker=dict(color=style.TUNED, size=6),
        hovertemplate="step %{x:,}: loss %{y:.3f}<extra></extra>",
    )  # fmt: skip
    return figure


def probe_curve(frame: pd.DataFrame) -> go.Figure:
    """The score on the probe items by step, with its interval; the zero-shot score is the start and a dashed line.

    Columns: step, steps, side, value, low, high (0..1), n. The y axis is 0 to 100 % throughout: nothing rescales.
    """
    probes = frame.dropna(subset=["value"]) if len(frame) else frame
    if probes.empty:
        return style.empty("No probe yet.", HEIGHT)
    first = probes[probes["side"] == "zero_shot"]
    tuned = probes[probes["side"] == "fine_tuned"]
    points = pd.concat([first.head(1).assign(step=0), tuned]).sort_values("step", kind="stable")
    points = points.assign(**{name: points[name] * 100 for name in ("value", "low", "high")})
    yaxis = dict(range=[0, 103], **style.percent_ticks())
    figure = style.figure(HEIGHT, xaxis=_step_axis(frame), yaxis=yaxis)
    if len(points) > 1:
        figure.add_trace(_band(points))
    if len(first):
        below = points["value"].iloc[-1] >= points["value"].iloc[0]
        _zero_line(figure, points["value"].iloc[0], _last_step(frame), below)
    if len(tuned):
        figure.add_trace(_curve(points))
    return figure


def _curve(points: pd.DataFrame) -> go.Scatter:
    labels = [""] * (len(points) - 1) + [style.decimal(points["value"].iloc[-1])]
    said = [_said(point) for point in points.itertuples()]
    return go.Scatter(
        x=points["step"].to_numpy(), y=points["value"].to_numpy(), mode="lines+markers+text",
        line=dict(color=style.TUNED, width=2), marker=dict(color=style.TUNED, size=7), cliponaxis=False,
        text=labels, textposition="top center", textfont=dict(size=14), hovertext=said, hoverinfo="text",
    )  # fmt: skip


def _said(point) -> str:
    between = style.interval(point.low / 100, point.high / 100)
    return f"step {point.step:,.0f}: {style.decimal(point.value)} %{between}<br>n = {point.n:,.0f}"


def _band(points: pd.DataFrame) -> go.Scatter:
    """The interval as an area: there along the upper ends, back along the lower ones."""
    known = points.dropna(subset=["low", "high"])
    there, back = known["step"].tolist(), known["step"].tolist()[::-1]
    edge = known["high"].tolist() + known["low"].tolist()[::-1]
    return go.Scatter(
        x=there + back, y=edge, fill="toself", fillcolor=style.fade(style.TUNED, 0.16),
        mode="lines", line=dict(width=0), hoverinfo="skip",
    )  # fmt: skip


def _zero_line(figure: go.Figure, value: float, last: float, below: bool) -> None:
    line = dict(color=style.ZERO, width=2, dash="dash")
    figure.add_scatter(x=[0, last], y=[value, value], mode="lines", line=line, hoverinfo="skip")
    figure.add_annotation(
        x=last, y=value, text=f"zero-shot {style.decimal(value)} %", showarrow=False, xanchor="right",
        yanchor="top" if below else "bottom",
    )  # fmt: skip


def _last_step(frame: pd.DataFrame) -> float:
    return max(1.0, float(frame["steps"].max()), float(frame["step"].max()))


def _step_axis(frame: pd.DataFrame) -> dict:
    return dict(range=[0, _last_step(frame)], showgrid=False, nticks=6, tickformat=",d", title=dict(text="step"))
