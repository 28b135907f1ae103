"""Tables as HTML: the metrics and their caption, the items of a box, the runs. Frames in, escaped text out."""

from html import escape

import pandas as pd

from llmft_core import words
from llmft_core.run import METHODS
from llmft_core.tasks import Task
from llmft_core.ui import html

SHOWN = 100  # rows of a list on one page
SOURCES = {
    "hub": "the dataset from the Hub",
    "data-dir": "files of a data folder",
    "data-file": "a data file",
    "samples": "our own sample rows, since no dataset was at hand",
}
SPLITS = {
    "official": "official split",
    "80-20": "80:20 split of the training part",
    "grouped": "80:20 split with no group on both sides",
}
# Answers the page: a click on a row's button, or Enter on it, selects the row.
PICK = """element.addEventListener('click', event => {
  const button = event.target.closest('[data-key]');
  if (button) trigger('select', {index: button.dataset.key, value: button.dataset.key});
});"""


def table_metrics(task: Task) -> tuple[str, ...]:
    """The rows of the table: those of the coursework, and what a reader needs to judge them."""
    if task.labels:
        return (*task.table_metrics, "auroc", "ece")
    rest = tuple(name for name in task.table_metrics if name not in ("exact_match", "f1"))
    order = sorted(rest, key=lambda name: ("bleu", "meteor").index(name) if name in ("bleu", "meteor") else 2)
    return ("exact_match", "f1", "has_answer_f1", "no_answer_f1", *order)


def metric_table(frame: pd.DataFrame) -> str:
    """Metric, zero-shot, fine-tuned, change: number and interval in one cell; worse is orange and says so."""
    heads = ("Metric, %", "Zero-shot", "Fine-tuned", "Change, points")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(_metric_row(row) for row in frame.itertuples(index=False))
    return html.page(f'<table class="t eq"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _metric_row(row) -> str:
    zero = _cell(words.percent(row.zero_shot, unit=False), words.interval(row.zero_low, row.zero_high), "zero")
    fine = _cell(words.percent(row.fine_tuned, unit=False), words.interval(row.fine_low, row.fine_high), "tuned")
    between = words.interval(row.delta_low, row.delta_high)
    is_worse = row.better is False
    change = _cell(words.points(row.delta), between, "change", is_worse)
    name = ' class="headline"' if row.headline else ""
    return f'<tr{name}><th scope="row">{escape(row.title)}</th>{zero}{fine}{change}</tr>'


def _cell(value: str, between: str, side: str, is_worse: bool = False) -> str:
    mark, word = (" worse", ' <span class="mark worse">worse</span>') if is_worse else ("", "")
    return f'<td class="{side}"><span class="v{mark}">{value}</span><span class="ci">{between}</span>{word}</td>'


def caption(task: Task, metrics: dict) -> str:
    """What the numbers were measured on, and how to read them."""
    n, split = words.count(metrics.get("n")), SPLITS.get(metrics.get("split"), str(metrics.get("split", "")))
    what = "sentences" if task.labels else "questions"
    source = SOURCES.get(metrics.get("source"), "")
    says = [
        f"n = {n} {what}, {split}, the same for both sides, greedy decoding, seed {metrics.get('seed')}"
        + (f"; {source}." if source else "."),
        "Intervals are 95 %: paired bootstrap" + ("." if task.labels else ", whole paragraphs drawn."),
    ]
    if len(task.labels) == 2:
        says.append(
            f"Precision, recall and F1 take “{task.labels[1]}” as the class. Calibration error: lower is better."
        )
        says.append(calibrated(task, metrics))
    elif not task.labels:
        says.append("BLEU, METEOR and ROUGE on the answerable questions.")
        says.append(_trivial(task, metrics))
    if metrics.get("truncated"):
        says.append(f"{words.count(metrics['truncated'])} prompts had their paragraph cut to fit.")
    if metrics.get("prompt_tree") is False:
        says.append("Prompts cannot share a row in this model: each had a row of its own.")
    if (metrics.get("leakage") or {}).get("share") is not None:
        says.append(f"Leakage: {leakage(metrics['leakage'])}.")
    return html.note(" ".join(filter(None, says)))


def calibrated(task: Task, metrics: dict) -> str:
    """The headline once more with a constant preference for one label taken out, on both sides."""
    scores = metrics.get("calibrated") or {}
    before, after = (scores.get(side, {}).get(task.headline) for side in ("zero_shot", "fine_tuned"))
    if words.is_missing(before) or words.is_missing(after):
        return ""
    name = words.metric(task.headline).phrase
    return f"Calibrated, {name} is {words.percent(before, unit=False)} → {words.percent(after)}."


def _trivial(task: Task, metrics: dict) -> str:
    value = (metrics.get("baseline") or {}).get(task.headline)
    if words.is_missing(value):
        return ""
    return f"Always abstaining scores {words.percent(value)} {words.metric(task.headline).phrase}."


def leakage(found: dict) -> str:
    return f"{words.percent(found.get('share'))} of {found.get('what') or 'test items seen in training'}"


def matching(frame: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """The items that hold these letters anywhere."""
    wanted = wanted.strip().lower()
    if not wanted or frame.empty:
        return frame
    columns = ["id", "text", "shared", "gold", "zero_shot", "fine_tuned"]
    hit = frame[columns].apply(lambda column: column.astype(str).str.lower().str.contains(wanted, regex=False))
    return frame[hit.any(axis=1)]


def item_list(frame: pd.DataFrame, task: Task, has_texts: bool) -> str:
    """The items of a box, most changed first; a sentence that we have can be chosen."""
    if frame.empty:
        return html.page('<p class="note">Nothing here.</p>')
    what = "Sentence" if task.labels else "Question"
    change = "Margin change" if task.labels else "F1 change"
    heads = (what if has_texts else "Item", "Gold", "Zero-shot", "Fine-tuned", change)
    head = "".join(f'<th scope="col"{" class=n" if name == change else ""}>{name}</th>' for name in heads)
    body = "".join(_item(row, has_texts) for row in frame.head(SHOWN).itertuples(index=False))
    rest = f"{SHOWN} of {words.count(len(frame))} shown; search to find others." if len(frame) > SHOWN else ""
    missing = (
        "" if has_texts else "The texts are not on this machine, so the list shows ids and the models' own answers. "
    )
    return html.page(
        '<div class="scroll" tabindex="0" role="region" aria-label="Items">',
        f'<table class="t items{"" if has_texts else " bare"}">',
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        f'<p class="note">{escape(missing + rest)}</p>' if missing or rest else "",
    )


def _item(row, has_texts: bool) -> str:
    text = str(row.text) or str(row.id)
    key = escape(str(row.id), quote=True)
    first = f'<button class="pick" data-key="{key}">{escape(text)}</button>' if has_texts and row.text else escape(text)
    cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in (row.gold, row.zero_shot, row.fine_tuned))
    return f'<tr><th scope="row">{first}</th>{cells}<td class="n">{words.decimal(row.change, 2, sign=True)}</td></tr>'


def run_list(frame: pd.DataFrame, chosen: str, titles: dict[str, str], left: dict[str, str]) -> str:
    """All runs; `left` says how long the active ones still take. The chosen row is tinted."""
    heads = ("Run", "State", "Fine-tuned", "Change, points [95 %]", "Time", "Task", "Model", "Method")
    right = (2, 3, 4)
    head = "".join(f'<th scope="col"{" class=n" if at in right else ""}>{name}</th>' for at, name in enumerate(heads))
    body = "".join(_run(row, row.name == chosen, titles, left) for row in frame.itertuples(index=False))
    return html.page(
        '<div class="scroll wide" tabindex="0" role="region" aria-label="Runs"><table class="t runs"><thead>'
        f"<tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _run(row, is_chosen: bool, titles: dict[str, str], left: dict[str, str]) -> str:
    change = " ".join(filter(None, (words.points(row.change), words.interval(row.low, row.high))))
    time = left.get(row.name) or words.duration(row.seconds)
    name = escape(row.name, quote=True)
    marks = ("shipped" if row.shipped else "", words.source(row.source) if row.source == "samples" else "")
    shown = escape(row.name) + "".join(f' <span class="muted">{mark}</span>' for mark in marks if mark)
    cells = (words.percent(row.fine_tuned), change, time)
    rest = (titles.get(row.task, row.task), row.model, METHODS.get(row.method, row.method))
    return (
        f'<tr{" class=chosen" if is_chosen else ""}><th scope="row"><button class="pick" data-key="{name}" '
        f'aria-pressed="{str(is_chosen).lower()}">{shown}</button></th><td>{escape(row.state)}</td>'
        + "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
    )
