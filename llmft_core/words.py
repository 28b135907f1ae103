"""How numbers and states are said: pure formatting, and the sentence of the verdict.

Shares come in as 0..1 and go out in per cent with one decimal. A missing number (None, nan, infinity) is an empty text.
"""

import math
from typing import NamedTuple

MINUS = "−"
SHAPES = {"queued": "○", "running": "◐", "finished": "●", "failed": "▲", "cancelled": "■", "died": "▲"}


class Metric(NamedTuple):
    """How a metric is named and read: `title` at the head of a row, `phrase` inside a sentence."""

    title: str
    phrase: str
    better: int = 1  # 1: higher is better, -1: lower is better, 0: neither


METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "accuracy"),
    "precision": Metric("Precision", "precision"),
    "recall": Metric("Recall", "recall"),
    "f1": Metric("F1", "F1"),
    "f1_macro": Metric("F1, macro", "macro F1"),
    "auroc": Metric("AUROC", "AUROC"),
    "ece": Metric("Calibration error", "calibration error", -1),
    "invalid_rate": Metric("Invalid answers", "invalid answers", -1),
    "exact_match": Metric("Exact match", "exact match"),
    "has_answer_exact_match": Metric("Exact match, answerable", "exact match on answerable questions"),
    "has_answer_f1": Metric("F1, answerable", "F1 on answerable questions"),
    "no_answer_exact_match": Metric("Exact match, unanswerable", "exact match on unanswerable questions"),
    "no_answer_f1": Metric("F1, unanswerable", "F1 on unanswerable questions"),
    "abstention_rate": Metric("Abstained", "share of abstentions", 0),
    "auroc_no_answer": Metric("AUROC, no answer", "AUROC of its no-answer probability"),
    "bleu": Metric("BLEU", "BLEU"),
    "bleu_sentence": Metric("BLEU, mean per answer", "mean BLEU per answer"),
    "meteor": Metric("METEOR", "METEOR"),
    "rouge1": Metric("ROUGE-1", "ROUGE-1"),
    "rouge2": Metric("ROUGE-2", "ROUGE-2"),
    "rougeL": Metric("ROUGE-L", "ROUGE-L"),
}


def metric(name: str) -> Metric:
    """The words for a metric; one that is not in the table is called by its own name and taken as higher is better."""
    plain = name.replace("_", " ")
    return METRICS.get(name) or Metric(plain[:1].upper() + plain[1:], plain)


def headline(metrics: dict) -> str:
    """The metric of the verdict when nobody names one: accuracy, else F1, else the first that was measured."""
    known = metrics.get("fine_tuned") or {}
    return next((name for name in ("accuracy", "f1") if name in known), next(iter(known), ""))


# ---- numbers --------------------


def is_missing(value: float | None) -> bool:
    """True for None, nan and infinity."""
    return value is None or not math.isfinite(value)


def decimal(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """1234.56 -> `1,234.6`, -2 -> `−2.0`; with `sign`, +2 -> `+2.0`. What rounds to zero has no sign."""
    if is_missing(value):
        return ""
    text = f"{abs(value):,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def percent(share: float | None, unit: bool = True, digits: int = 1) -> str:
    """0.846 -> `84.6 %`, without the unit `84.6`."""
    return "" if is_missing(share) else decimal(share * 100, digits) + (" %" if unit else "")


def points(change: float | None) -> str:
    """A difference of shares in percentage points: 0.305 -> `+30.5`."""
    return "" if is_missing(change) else decimal(change * 100, sign=True)


def interval(low: float | None, high: float | None) -> str:
    """0.271, 0.339 -> `[27.1, 33.9]`; empty when an end is missing."""
    if is_missing(low) or is_missing(high):
        return ""
    return f"[{percent(low, unit=False)}, {percent(high, unit=False)}]"


def p_value(p: float | None) -> str:
    """`< 0.001`, else two digits: `0.24`, `0.012`."""
    return "" if is_missing(p) else "< 0.001" if p < 0.001 else f"{p:#.2g}"


def p_phrase(p: float | None) -> str:
    """`p < 0.001` or `p = 0.24`."""
    said = p_value(p)
    return f"p {said}" if said.startswith("<") else f"p = {said}" if said else ""


def count(number: float | None) -> str:
    """11873 -> `11,873`."""
    return decimal(number, digits=0)


def cosine_gap(value: float | None) -> str:
    """1 − cosine with four decimals: `0.0005`."""
    return decimal(value, digits=4)


def significant(value: float | None, digits: int = 3) -> str:
    """A number of unknown size with so many significant digits: 0.01423 -> `0.0142`, 2e-06 stays `2e−06`."""
    return "" if is_missing(value) else f"{value:.{digits}g}".replace("-", MINUS)


def size(millions: float | None) -> str:
    """Parameters of a model: 6.52 -> `6.5M`, 135 -> `135M`, 1236 -> `1.2B`; empty when nobody counted."""
    if is_missing(millions) or millions <= 0:
        return ""
    if millions >= 1000:
        return f"{millions / 1000:.1f}B"
    return f"{millions:.0f}M" if millions >= 10 else f"{millions:.2g}M"


def amount(done: float, total: float) -> str:
    """Bytes that came of those in all: `0.41 of 2.47 GB`, `12 of 269 MB`; `12 MB` when nobody knows how many."""
    scale, digits, unit = (1e9, 2, "GB") if max(done, total) >= 1e9 else (1e6, 0, "MB")
    of = f" of {decimal(total / scale, digits)}" if total else ""
    return f"{decimal(done / scale, digits)}{of} {unit}"


# ---- time and states --------------------


def duration(seconds: float | None) -> str:
    """72 -> `1:12`, 3725 -> `1:02:05`."""
    if is_missing(seconds):
        return ""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def latency(seconds: float | None) -> str:
    """0.041 -> `41 ms`, 1.24 -> `1.2 s`."""
    if is_missing(seconds):
        return ""
    return f"{seconds:.1f} s" if seconds >= 0.9995 else f"{seconds * 1000:.0f} ms"


def plain(kind: str) -> str:
    """The word for a kind of state inside a sentence: a run that died was `interrupted`."""
    return "interrupted" if kind == "died" else kind


def why_none(name: str, kind: str, detail: str = "", reason: str = "") -> str:
    """What the run `name` does instead of having a result, and what to do; takes a `runs.State`, unpacked."""
    resume = f"go on with `python -m llmft_core runs resume {name}`"
    if kind in ("queued", "running"):
        said = state(kind, detail).split(" ", 1)[1]
        return f"it is {said}; wait for its end, or stop it with `python -m llmft_core runs stop {name}`"
    if kind == "finished" or reason == "damaged":
        return f"it is {'damaged' if reason else kind}; delete it and make it again"
    if kind == "failed":
        return f"it failed ({detail.rstrip('.')}); when that is put right, {resume}"
    return f"it was {plain(kind)}{f' {detail}' if kind == 'cancelled' else ''}; {resume}"


def state(kind: str, detail: str = "", reason: str = "") -> str:
    """A shape and a few words: `◐ running 64 %`, `○ queued, 1 ahead`, `■ cancelled at step 40`, `▲ interrupted`.

    Takes a `runs.State`, unpacked. A failure is named by its reason where it has one (`▲ failed: out of memory`),
    and the sentence of a run that died is left out: both are too long for a table.
    """
    said = f"{SHAPES.get(kind, '○')} {plain(kind)}"
    if kind == "failed" and reason not in ("", "other"):
        detail = reason.replace("-", " ")
    if not detail or kind == "died":
        return said
    if kind == "cancelled" or detail[0].isdigit() and kind == "running":
        return f"{said} {detail}"
    return f"{said}{', ' if kind == 'queued' else ': '}{detail}"


def source(name: str) -> str:
    """Where rows came from, short enough for a table; our own are never mistaken for a dataset."""
    return {"hub": "Hub", "data-dir": "data folder", "data-file": "data file", "samples": "our samples"}.get(name, "")


# ---- the verdict --------------------


class Piece(NamedTuple):
    """A part of the verdict. `role` is one of: word (the verdict itself, bold), plain, value (the new value, bold),
    muted (the interval), long (what a phone leaves out, muted)."""

    text: str
    role: str


class Verdict(NamedTuple):
    """The answer of a run in one sentence. `kind` is one of: better, worse, unclear, none (nothing to compare)."""

    kind: str
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The whole sentence."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def short(self) -> str:
        """The sentence without p, n and flips."""
        return "".join(piece.text for piece in self.pieces if piece.role != "long")


VERDICT_WORDS = {"better": "Better", "worse": "Worse", "unclear": "No clear difference"}


def verdict(metrics: dict | None, name: str = "") -> Verdict:
    """The sentence about a run's metrics.json; `name` is the metric to speak of, `headline(metrics)` when empty.

    Better: accuracy 54.1 → 84.6 %, +30.5 points [27.1, 33.9], p < 0.001, n = 872. Fixed 301, broke 35.
    """
    if not metrics:
        return Verdict("none", (Piece("No fine-tuned run for this task and model yet.", "plain"),))
    name = name or headline(metrics)
    before, after = (metrics.get(side, {}).get(name) for side in ("zero_shot", "fine_tuned"))
    if is_missing(before) or is_missing(after):
        return Verdict("none", (Piece(f"This run holds no {metric(name).phrase or 'metric'} to compare.", "plain"),))
    delta = metrics.get("delta", {}).get(name) or {}
    change = after - before if is_missing(delta.get("value")) else delta["value"]
    kind = kind_of(name, change, delta.get("low"), delta.get("high"), delta.get("p"))
    between = interval(delta.get("low"), delta.get("high"))
    pieces = (
        Piece(f"{VERDICT_WORDS[kind]}: ", "word"),
        Piece(f"{metric(name).phrase} {percent(before, unit=False)} → ", "plain"),
        Piece(percent(after), "plain" if kind == "unclear" else "value"),
        Piece(f", {points(change)} points", "plain"),
        Piece(f" {between}" if between else "", "muted"),
        Piece(_facts(metrics, delta), "long"),
        Piece(", on sample rows of our own" if metrics.get("source") == "samples" else "", "muted"),
        Piece(".", "muted"),
        Piece(_flips(metrics), "long"),
        Piece(_below_trivial(metrics, name, after), "muted"),
    )
    return Verdict(kind, tuple(piece for piece in pieces if piece.text))


def _facts(metrics: dict, delta: dict) -> str:
    facts = (p_phrase(delta.get("p")), f"n = {count(metrics['n'])}" if metrics.get("n") else "")
    return "".join(f", {fact}" for fact in facts if fact)


def _below_trivial(metrics: dict, name: str, after: float) -> str:
    """What an answer without reading scores, where the fine-tuned side scores less."""
    trivial = (metrics.get("baseline") or {}).get(name)
    if name != headline(metrics) or is_missing(trivial) or after >= trivial:
        return ""
    return f" The same answer to everything scores {percent(trivial)}."


def _flips(metrics: dict) -> str:
    flips = metrics.get("flips") or {}
    if "fixed" not in flips or "broken" not in flips:
        return ""
    return f" Fixed {count(flips['fixed'])}, broke {count(flips['broken'])}."


def kind_of(name: str, value: float, low: float | None, high: float | None, p: float | None = None) -> str:
    """`better` or `worse` when the 95 % interval of the change excludes 0 and p (where there is one) is below 0.05.

    Otherwise, or for a metric that is neither good nor bad, `unclear`.
    """
    direction = metric(name).better
    if is_missing(low) or is_missing(high) or low <= 0 <= high or direction == 0:
        return "unclear"
    if not is_missing(p) and p >= 0.05:
        return "unclear"
    return "better" if value * direction > 0 else "worse"
