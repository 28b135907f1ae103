"""How every chart looks: the palette, the two sides and the plotly template "llmft", registered once.

One figure serves the light and the dark page: marks are mid-tones that have 3:1 on both, the ground is transparent,
and the page's CSS colours the text. Zero-shot is grey and hollow, fine-tuned blue and solid, worse is orange.
"""

import math

import plotly.graph_objects as go
import plotly.io as pio

SIDES = ("zero_shot", "fine_tuned")
NAMES = {"zero_shot": "zero-shot", "fine_tuned": "fine-tuned"}
ZERO, TUNED, BROKEN = "#7A8189", "#2F80D0", "#D0632F"
COLOURS = {"zero_shot": ZERO, "fine_tuned": TUNED}
TEXT = "#767C85"  # readable on both pages should the CSS be lost
GRID = "rgba(122,129,137,.22)"
MINUS = "−"


def fade(colour: str, alpha: float) -> str:
    """`#2F80D0`, 0.16 -> `rgba(47,128,208,0.16)`."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _axis(**more) -> dict:
    title = dict(font=dict(size=14), standoff=10)
    return dict(showline=False, zeroline=False, ticks="", gridcolor=GRID, automargin=True, title=title) | more


pio.templates["llmft"] = go.layout.Template(
    layout=dict(
        font=dict(family="Source Sans Pro, ui-sans-serif, sans-serif", size=14, color=TEXT),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=[ZERO, TUNED, BROKEN],
        showlegend=False,
        dragmode=False,
        hovermode="closest",
        uirevision="keep",
        margin=dict(l=8, r=16, t=8, b=8, pad=6),
        xaxis=_axis(),
        yaxis=_axis(),
        hoverlabel=dict(bgcolor="#1B1E22", bordercolor=TEXT, font=dict(color="#FFFFFF", size=14), align="left"),
    )
)


def figure(height: int, **layout) -> go.Figure:
    """An empty figure in our template, as wide as its place."""
    return go.Figure(layout=dict(template="llmft", height=height) | layout)


def empty(sentence: str, height: int = 200) -> go.Figure:
    """What stands where there is nothing to draw: a sentence, no axes."""
    hidden = dict(visible=False)
    drawn = figure(height, xaxis=hidden, yaxis=hidden)
    at_top_left = dict(x=0, y=1, xref="paper", yref="paper", xanchor="left", yanchor="top", align="left")
    drawn.add_annotation(text=sentence, showarrow=False, **at_top_left)
    return drawn


def decimal(value: float | None, digits: int = 1) -> str:
    """With a real minus; a missing number is empty."""
    if value is None or not math.isfinite(value):
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS if text.strip("-0.") else "")


def percent(share: float | None, digits: int = 1) -> str:
    """0.846 -> `84.6`, without the unit."""
    return "" if share is None else decimal(share * 100, digits)


def interval(low: float | None, high: float | None) -> str:
    """` [27.1, 33.9]` with a space before it, empty when an end is missing."""
    ends = percent(low), percent(high)
    return f" [{ends[0]}, {ends[1]}]" if all(ends) else ""


def percent_ticks(low: int = 0, high: int = 100, step: int = 25) -> dict:
    """Axis settings for values in per cent: the unit on the last tick only."""
    values = list(range(low, high + 1, step))
    return dict(tickvals=values, ticktext=[*map(str, values[:-1]), f"{values[-1]} %"])


def beside(number: int) -> list[tuple[str, list[float]]]:
    """Name and domain of the x axes of one or two panels side by side."""
    return [("x", [0, 1])] if number == 1 else [("x", [0, 0.48]), ("x2", [0.52, 1])]


def marker(side: str, size: int = 9) -> dict:
    """Hollow for zero-shot, solid for fine-tuned."""
    symbol = "circle-open" if side == "zero_shot" else "circle"
    return dict(symbol=symbol, size=size, color=COLOURS[side], line=dict(width=2, color=COLOURS[side]))


def whisker(low: float, high: float, colour: str, along: str, at: float) -> go.Scatter:
    """A 95 % interval as a line without caps along the x or the y axis."""
    ends = {along: [low, high], "y" if along == "x" else "x": [at, at]}
    return go.Scatter(**ends, mode="lines", line=dict(color=colour, width=2), hoverinfo="skip")
