"""Tables of counts, zero-shot left and fine-tuned right: what confusion and abstention share."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

DEEPEST = 0.34  # of a side's colour: under ink this keeps 7:1 on the light and on the dark page
ROW = 60


def count_grids(cells: pd.DataFrame, rows: list[str], columns: list[str], sides: tuple[str, ...]) -> go.Figure:
    """A grid per side. Columns of `cells`: side, row, column, count, share (of the row, 0..1: the depth of colour)."""
    figure = style.figure(ROW * len(rows) + 76, yaxis=_rows(rows))
    crowded = len(columns) * len(sides) > 4
    for side, (axis, domain) in zip(sides, style.beside(len(sides)), strict=True):
        here = cells[cells["side"] == side]
        figure.update_layout({axis.replace("x", "xaxis"): _columns(columns, style.NAMES[side], domain, crowded)})
        figure.add_traces([_ground(here, rows, columns, side, axis), _counts(here, rows, columns, axis)])
    return figure


def _rows(names: list[str]) -> dict:
    ticks = dict(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    return dict(showgrid=False, **ticks)


def _columns(names: list[str], side: str, domain: list[float], crowded: bool) -> dict:
    ticks = dict(tickvals=list(range(len(names))), ticktext=names, range=[-0.5, len(names) - 0.5])
    title = dict(text=f"<b>{side}</b>")
    return dict(
        side="top", domain=domain, anchor="y", showgrid=False, title=title, tickangle=None if crowded else 0, **ticks
    )


def _ground(cells: pd.DataFrame, rows: list[str], columns: list[str], side: str, axis: str) -> go.Heatmap:
    shares = cells.pivot(index="row", columns="column", values="share").reindex(rows, columns=columns)
    colour = style.COLOURS[side]
    return go.Heatmap(
        z=shares.to_numpy(), x=list(range(len(columns))), y=list(range(len(rows))), zmin=0, zmax=1, xgap=2, ygap=2,
        colorscale=[[0, style.fade(colour, 0.05)], [1, style.fade(colour, DEEPEST)]],
        showscale=False, hoverinfo="skip", xaxis=axis,
    )  # fmt: skip


def _counts(cells: pd.DataFrame, rows: list[str], columns: list[str], axis: str) -> go.Scatter:
    """Text marks rather than heatmap labels: the page colours these."""
    cells = cells[cells["row"].isin(rows) & cells["column"].isin(columns)]
    text = [f"{n:,}<br>{style.percent(share)} %" for n, share in zip(cells["count"], cells["share"], strict=True)]
    return go.Scatter(
        x=[columns.index(name) for name in cells["column"]], y=[rows.index(name) for name in cells["row"]],
        mode="text", text=text, textfont=dict(size=14), hoverinfo="skip", xaxis=axis,
    )  # fmt: skip
