"""Where the weights moved: layer by module, the stronger the blue the larger the change."""

import pandas as pd
import plotly.graph_objects as go

from llmft_core.charts import style

RAMP = [[0, style.fade(style.TUNED, 0.03)], [1, style.fade(style.TUNED, 1)]]


def weight_heatmap(frame: pd.DataFrame, chosen: tuple[int, str] | None = None) -> go.Figure:
    """Relative change ‖ΔW‖ / ‖W₀‖ per cell; a dash marks what rounding alone could do; `chosen` (layer, module) framed.

    Columns: layer, module, short, relative_change (0..), noise_floor. A click's customdata is [layer, module].
    """
    if frame.empty:
        return style.empty("No weights to compare yet.")
    layers = sorted(frame["layer"].unique().tolist())
    names = dict(zip(frame["module"], frame["short"], strict=True))
    shares = frame.pivot(index="layer", columns="module", values="relative_change").reindex(layers, columns=list(names))
    top = float(shares.max().max()) * 100
    figure = style.figure(
        28 * len(layers) + 84,
        xaxis=dict(side="top", tickvals=list(range(len(names))), ticktext=list(names.values()), showgrid=False),
        yaxis=dict(autorange="reversed", showgrid=False, title=dict(text="layer"), **_layer_ticks(layers)),
    )
    figure.add_heatmap(
        z=shares.to_numpy() * 100, colorscale=RAMP, zmin=0, zmax=top if top > 0 else 1, xgap=2, ygap=2,
        customdata=[[[layer, module] for module in names] for layer in layers], hoverongaps=False,
        text=[[short for short in names.values()] for _ in layers], colorbar=_bar(),
        hovertemplate="layer %{customdata[0]}, %{text}: %{z:.3~g} %<extra></extra>",
    )  # fmt: skip
    place = {layer: at for at, layer in enumerate(layers)}, {module: at for at, module in enumerate(names)}
    figure.add_trace(_within_rounding(frame, *place))
    if chosen is not None and chosen[0] in place[0] and chosen[1] in place[1]:
        x, y = place[1][chosen[1]], place[0][chosen[0]]
        edges = dict(x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5)
        figure.add_shape(type="rect", **edges, line=dict(color=style.TEXT, width=2))
    return figure


def _within_rounding(frame: pd.DataFrame, rows: dict, columns: dict) -> go.Scatter:
    still = frame[(frame["noise_floor"] > 0) & (frame["relative_change"] <= frame["noise_floor"])]
    return go.Scatter(
        x=[columns[module] for module in still["module"]], y=[rows[layer] for layer in still["layer"]], mode="markers",
        marker=dict(symbol="line-ew", size=10, line=dict(width=2, color=style.ZERO)), hoverinfo="skip",
    )  # fmt: skip


def _layer_ticks(layers: list[int]) -> dict:
    """Every layer while they fit, else every second: the cells are 28 high, the words 14."""
    return dict(tickvals=list(range(len(layers))), ticktext=[str(layer) for layer in layers])


def _bar() -> dict:
    return dict(
        orientation="h", thickness=8, len=0.5, x=1, xanchor="right", y=0, yanchor="top", ypad=14, outlinewidth=0,
        ticksuffix=" %", nticks=4, tickfont=dict(size=14), exponentformat="none",
    )  # fmt: skip
