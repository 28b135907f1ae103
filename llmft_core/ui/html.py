"""Pieces of HTML that several tabs use. Every text that comes in is escaped here; what goes out is safe to show."""

from collections.abc import Iterable, Sequence
from html import escape

from llmft_core import words

LEGENDS = {
    "zero": ('<i class="zero"></i>', "zero-shot"),
    "tuned": ('<i class="tuned"></i>', "fine-tuned"),
    "tick": ('<i class="tick"></i>', "trivial baseline"),
    "ceiling": ('<span aria-hidden="true">◁</span>', "ceiling"),
    "dash": ('<i class="dash"></i>', "zero-shot"),
    "line": ('<i class="line"></i>', "fine-tuned"),
}
TICK = "The point above which keeping silent pays best on the test set"


def page(*pieces: str) -> str:
    """The root of everything we draw ourselves: the style sheet hangs on `.ft`."""
    return f'<div class="ft">{"".join(pieces)}</div>'


def header(device: str) -> str:
    return page(
        f'<span class="device">{escape(device)}</span><h1>llmft</h1>',
        '<span class="asks">what did fine-tuning change?</span>',
    )


def verdict(said: words.Verdict, hint: str = "") -> str:
    """The sentence under the choices; `hint` follows it, muted."""
    tags = {"word": "b", "value": "b"}
    classes = {"muted": "ci", "long": "long"}
    inner = ""
    for text, role in said.pieces:
        tag = tags.get(role, "span")
        name = f' class="{classes[role]}"' if role in classes else ""
        inner += f"<{tag}{name}>{escape(text)}</{tag}>"
    if hint:
        inner += f' <span class="muted">{escape(hint)}</span>'
    return page(f'<p class="{said.kind}">{inner}</p>')


def title(text: str, note: str = "", section: bool = False) -> str:
    """A section's head; with `section` under a hairline."""
    inner = f"<h2>{escape(text)}</h2>" + (f'<p class="note">{tied(note)}</p>' if note else "")
    return page(f'<div class="section">{inner}</div>' if section else inner)


def chart_title(name: str, rest: str = "") -> str:
    """`Loss` on answer tokens."""
    return page(f'<p><b>{escape(name)}</b> <span class="muted">{escape(rest)}</span></p>')


def note(text: str) -> str:
    return page(f'<p class="note">{tied(text)}</p>') if text else ""


def tied(text: str) -> str:
    """Escaped, and with nothing torn apart at a line's end: `n = 872`, `84.6 %`."""
    return escape(text).replace("n = ", "n\u00a0=\u00a0").replace(" %", "\u00a0%")


def key(*names: str) -> str:
    """The legend over a chart."""
    marks = (LEGENDS[name] for name in names)
    return page('<div class="key">' + "".join(f"<span>{mark} {escape(text)}</span>" for mark, text in marks) + "</div>")


def error(head: str, text: str = "") -> str:
    """What happened and what to do, in place; an orange rule."""
    return page(f'<div class="box err" role="alert"><b>{escape(head)}</b><p>{escape(text)}</p></div>')


def box(head: str, text: str = "", kind: str = "") -> str:
    """A calm message with a rule; `kind` is "", "ok" or "err" (without the alarm of `error`)."""
    return page(f'<div class="box {kind}"><b>{escape(head)}</b><p>{escape(text)}</p></div>')


def empty(head: str, text: str) -> str:
    return page(f'<div class="empty"><h2>{escape(head)}</h2><p>{escape(text)}</p></div>')


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; a pair without a value is left out."""
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows if value)
    return page(f'<dl class="d">{inner}</dl>')


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A small table of texts; all columns but the first are numbers and stand right."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return page(f'<table class="t num"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def progress(head: str, stage: str, share: float, text: str) -> str:
    """Running: a title, a bar and one line. A change of the stage is read aloud, the ticking seconds are not."""
    value = f"{100 * max(0.0, min(1.0, share)):.0f}"
    return page(
        f"<h2>{escape(head)}</h2>",
        f'<progress max="100" value="{value}" aria-label="{escape(stage)}">{value} %</progress>',
        f'<p class="note"><span aria-live="polite">{escape(stage)}</span>{escape(text)}</p>',
    )


def bars(shares: Sequence[tuple[str, float | None]], threshold: float | None = None, shown: int | None = None) -> str:
    """Name, bar and number of each share (0..1; None: a bar without a number); `threshold` draws a tick."""
    tick = f'<u style="left:{100 * threshold:.1f}%" title="{TICK}"></u>' if threshold is not None else ""
    return f'<div class="bars">{"".join(_bar(name, share, tick, shown or 0) for name, share in shares)}</div>'


def _bar(name: str, share: float | None, tick: str, digits: int) -> str:
    said = words.percent(share, digits=digits)
    width = 0.0 if words.is_missing(share) else 100 * max(0.0, min(1.0, share))
    label = escape(f"{name}: {said or 'not known yet'}", quote=True)
    return (
        f"<span>{escape(name)}</span>"
        f'<span class="bar" role="img" aria-label="{label}"><i style="width:{width:.1f}%"></i>{tick}</span>'
        f'<span class="n">{said}</span>'
    )


def fold(summary: str, inner: str) -> str:
    """Something to open on demand; `inner` is HTML."""
    return page(f"<details><summary>{escape(summary)}</summary>{inner}</details>")


def log(text: str) -> str:
    """The end of what a process printed."""
    return page(f'<pre tabindex="0">{escape(text)}</pre>') if text else ""
