"""Charts: pure functions of a frame; what they draw agrees with it, an empty frame gives a sentence."""

import fakes
import pandas as pd
import plotly.graph_objects as go
import pytest

from llmft_core import charts, frames
from llmft_core.charts import style

N = 120
SST2, SQUAD = fakes.run("sst2", N), fakes.run("squad_v2", N)
DRAWN = {
    "loss": (charts.loss_curve, frames.learning_curve(SST2)),
    "probe": (charts.probe_curve, frames.learning_curve(SST2)),
    "before_after": (charts.before_after, frames.metric_table(SST2)),
    "weights": (charts.weight_heatmap, frames.weight_grid(SST2)),
    "singular_values": (charts.singular_values, frames.singular_values(SST2, 5, "v_proj")),
    "reliability": (charts.reliability, frames.reliability(SST2)),
    "confusion": (charts.confusion, frames.confusion(SST2)),
    "abstention": (charts.abstention, frames.abstention(SQUAD)),
    "answer_quality": (charts.answer_quality, frames.answer_quality(SQUAD)),
    "histogram": (charts.score_histogram, frames.score_histogram(SST2)),
    "histogram_squad": (charts.score_histogram, frames.score_histogram(SQUAD)),
}
ALL = pytest.mark.parametrize("name", DRAWN)


def draw(name: str) -> go.Figure:
    chart, frame = DRAWN[name]
    return chart(frame)


def texts(figure: go.Figure) -> list[str]:
    return [text for trace in figure.data if "text" in (getattr(trace, "mode", "") or "") for text in trace.text]


@ALL
def test_chart_is_in_our_template_transparent_and_silent(name):
    figure = draw(name)
    assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.template.layout.showlegend is False and figure.layout.title.text is None
    assert figure.layout.height and len(figure.data)


@ALL
def test_chart_says_no_nan_none_or_hyphen_for_minus(name):
    figure = draw(name)
    said = [*texts(figure)]
    for trace in figure.data:
        hover = getattr(trace, "hovertext", None)
        said += [] if hover is None else list(hover)
    for word in ("nan %", "None", "-", "[nan"):
        assert not [text for text in said if word in text.replace("zero-shot", "").replace("fine-tuned", "")]
    assert said or name in ("loss", "weights", "singular_values"), "these three leave their words to hovertemplate"


@ALL
def test_chart_does_not_change_its_frame(name):
    chart, frame = DRAWN[name]
    before = frame.copy(deep=True)
    chart(frame)
    pd.testing.assert_frame_equal(frame, before)


@ALL
def test_empty_frame_gives_a_sentence_without_axes(name):
    chart, frame = DRAWN[name]
    for nothing in (frame.head(0), pd.DataFrame()):
        figure = chart(nothing)
        assert not figure.data and figure.layout.annotations[0].text.endswith(".")
        assert figure.layout.xaxis.visible is False and figure.layout.template.layout.font.size == 14


# ---- while it learns --------------------


def test_curves_of_a_running_run_reach_to_the_last_planned_step():
    curve = frames.learning_curve(fakes.run(state="running"))
    for chart in (charts.loss_curve, charts.probe_curve):
        assert tuple(chart(curve).layout.xaxis.range) == (0, 40)


def test_probe_curve_starts_at_the_zero_shot_value_and_draws_it_dashed():
    figure = charts.probe_curve(frames.learning_curve(SST2))
    dashed = next(trace for trace in figure.data if trace.line.dash == "dash")
    curve = next(trace for trace in figure.data if getattr(trace, "mode", "") == "lines+markers+text")
    assert list(dashed.y) == pytest.approx([53.1, 53.1]) and list(dashed.x) == [0, 40]
    assert (curve.x[0], curve.y[0]) == (0, pytest.approx(53.1))
    assert figure.layout.annotations[0].text == "zero-shot 53.1 %"
    assert tuple(figure.layout.yaxis.range)[0] == 0


def test_one_step_is_a_dot_and_one_probe_has_no_band():
    curve = frames.learning_curve(SST2)
    assert charts.loss_curve(curve.dropna(subset=["loss"]).head(1)).data[0].mode == "markers"
    start = curve[curve["side"] == "zero_shot"]
    assert [trace.fill for trace in charts.probe_curve(start).data] == [None]


# ---- before and after --------------------


def test_dumbbell_shows_both_values_of_every_metric_beside_its_points():
    table = frames.metric_table(SST2)
    said = texts(charts.before_after(table))
    assert said == [f"{value * 100:.1f}" for side in fakes.SIDES for value in table[side]]


def test_dumbbell_connector_is_orange_only_where_it_got_worse():
    table = frames.metric_table(SST2).head(3).assign(better=[True, False, None])
    colours = [trace.line.color for trace in charts.before_after(table).data[:3]]
    orange = style.fade(style.BROKEN, 0.45)
    assert [colour == orange for colour in colours] == [False, True, False]


def test_zero_shot_is_hollow_and_grey_fine_tuned_solid_and_blue():
    zero, tuned = charts.before_after(frames.metric_table(SST2)).data[-2:]
    assert (zero.marker.symbol, zero.marker.color) == ("circle-open", style.ZERO)
    assert (tuned.marker.symbol, tuned.marker.color) == ("circle", style.TUNED)


def test_values_of_close_points_move_apart():
    table = frames.metric_table(SST2).head(2).assign(zero_shot=[0.50, 0.9], fine_tuned=[0.53, 0.2])
    zero, tuned = charts.before_after(table).data[-2:]
    assert (zero.textposition[0], tuned.textposition[0]) == ("top left", "top right")
    assert zero.textposition[1] == tuned.textposition[1] == "top center"


def test_dumbbell_without_intervals_draws_no_whiskers():
    table = frames.metric_table(SST2).head(2)
    bare = table.assign(zero_low=float("nan"), fine_high=float("nan"))
    assert len(charts.before_after(table).data) - len(charts.before_after(bare).data) == 4


# ---- weights --------------------


def test_heatmap_has_a_cell_per_layer_and_module_and_says_which_was_clicked():
    figure = charts.weight_heatmap(frames.weight_grid(SST2), chosen=(5, "v_proj"))
    heat = figure.data[0]
    assert heat.z.shape == (6, 7) and heat.zmin == 0
    assert list(heat.customdata[5][2]) == [5, "v_proj"]
    frame = figure.layout.shapes[0]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 4.5, 5.5)


def test_heatmap_marks_cells_that_rounding_alone_could_explain():
    grid = frames.weight_grid(SST2).assign(noise_floor=0.0)
    assert len(charts.weight_heatmap(grid).data[1].x) == 0
    grid.loc[grid.index[3], "noise_floor"] = 1.0
    assert list(charts.weight_heatmap(grid).data[1].x) == [3]


def test_heatmap_of_unmoved_weights_and_of_an_absent_cell_is_drawn():
    still = frames.weight_grid(SST2).assign(relative_change=0.0)
    assert charts.weight_heatmap(still, chosen=(99, "v_proj")).data[0].zmax == 1


# ---- behind a score --------------------


def test_confusion_hides_the_invalid_column_when_nothing_is_in_it():
    frame = frames.confusion(SST2)
    assert list(charts.confusion(frame).layout.xaxis.ticktext) == ["negative", "positive", "invalid"]
    frame.loc[frame["predicted"] == "invalid", "count"] = 0
    assert list(charts.confusion(frame).layout.xaxis.ticktext) == ["negative", "positive"]


def test_confusion_prints_the_counts_of_its_frame():
    frame = frames.confusion(SST2)
    said = texts(charts.confusion(frame))
    assert sorted(int(text.split("<br>")[0]) for text in said) == sorted(frame["count"])


@pytest.mark.parametrize("name", ["confusion", "abstention", "histogram"])
def test_one_side_alone_has_one_panel(name):
    chart, frame = DRAWN[name]
    alone = chart(frame, side="fine_tuned")
    assert len(alone.data) * 2 == len(chart(frame).data)
    assert tuple(alone.layout.xaxis.domain) == (0, 1)


def test_abstention_has_answered_before_abstained_and_answerable_above():
    figure = charts.abstention(frames.abstention(SQUAD))
    assert list(figure.layout.xaxis.ticktext) == ["answered", "abstained"]
    assert list(figure.layout.yaxis.ticktext) == ["has<br>answer", "no<br>answer"]


def test_histogram_grows_up_for_the_class_that_should_score_high_and_down_for_the_other():
    up, down = charts.score_histogram(frames.score_histogram(SST2)).data[:2]
    assert min(up.y) >= 0 and max(down.y) <= 0
    assert sum(up.y) == pytest.approx(100) and sum(down.y) == pytest.approx(-100)


def test_quality_bars_carry_their_values():
    said = texts(charts.answer_quality(frames.answer_quality(SQUAD)))
    assert len(said) == 8 and all(float(text) <= 100 for text in said)


def test_reliability_draws_a_whisker_per_bin_between_its_ends():
    frame = frames.reliability(SST2)
    figure = charts.reliability(frame)
    whiskers = [trace for trace in figure.data if trace.mode == "lines" and trace.line.dash is None]
    assert len(whiskers) == len(frame)


def test_style_says_numbers_with_a_real_minus_and_nothing_for_nothing():
    assert style.decimal(-3.14159) == "−3.1" and style.decimal(-0.04) == "0.0"
    assert style.decimal(float("nan")) == style.percent(None) == style.interval(None, 1) == ""
    assert style.fade("#2F80D0", 0.16) == "rgba(47,128,208,0.16)"
