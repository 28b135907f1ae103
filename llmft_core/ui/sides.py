"""A side of the comparison as HTML: what it answered, how sure it was, which words moved it. All text is escaped."""

from collections.abc import Sequence
from html import escape

from llmft_core import words
from llmft_core.ui import html

NAMES = {"zero_shot": "Zero-shot", "fine_tuned": "Fine-tuned"}
PARTS = {
    "lora": {"zero_shot": "base · adapter off", "fine_tuned": "base + adapter"},
    "full": {"zero_shot": "base", "fine_tuned": "all weights tuned"},
}
PROVED = {
    "zero_shot": ("base_equal", "checked: equals a plain load"),
    "fine_tuned": ("tuned_differs", "checked: differs from the base"),
}
LATE = '<p class="note late">Loading the model; the first answer takes a few seconds.</p>'


def frame(side: str, inner: str, method: str = "lora", proof: dict | None = None) -> str:
    """The rule in the side's colour, its name, and what it is made of; `inner` is HTML."""
    key, said = PROVED[side]
    made_of = PARTS.get(method, PARTS["lora"])[side] + (f" · {said}" if (proof or {}).get(key) else "")
    return html.page(
        f'<section class="side {"tuned" if side == "fine_tuned" else "zero"}" aria-label="{NAMES[side]}">',
        f"<header><b>{NAMES[side]}</b><span>{escape(made_of)}</span></header>{inner}</section>",
    )


def resting(side: str, method: str, text: str) -> str:
    """Before the first question: the side keeps its place."""
    return frame(side, f'<p class="note">{escape(text)}</p>', method)


def waiting_labels(side: str, method: str, labels: Sequence[str]) -> str:
    bars = html.bars([(label, None) for label in labels])
    return frame(side, f'<p class="answer waiting">reading</p>{bars}{LATE}', method)


def waiting_text(side: str, method: str, paragraph: str) -> str:
    body = f'<p class="text muted">{escape(paragraph)}</p>'
    return frame(side, f'<p class="answer waiting">reading</p>{body}{LATE}', method)


def partial_text(side: str, method: str, text: str, paragraph: str) -> str:
    """An answer that is still being written."""
    body = f'<p class="answer waiting">{escape(text) or "reading"}</p><p class="text muted">{escape(paragraph)}</p>'
    return frame(side, body, method)


def labels(
    side: str, reply: dict, method: str, proof: dict | None, names: Sequence[str], calibrated: bool, right: str = ""
) -> str:
    """The label in large, a bar per label (the last label first), and what it would have written by itself."""
    shares = reply.get("calibrated" if calibrated else "probabilities") or reply.get("probabilities") or {}
    best = max(shares, key=shares.get) if shares else reply.get("label", "")
    bars = html.bars([(name, shares.get(name)) for name in reversed(list(names))])
    wrote = " ".join(str(reply.get("wrote", "")).split())
    facts = (right, f"Wrote “{wrote}”" if wrote else "", words.latency(reply.get("seconds")))
    note = " · ".join(filter(None, facts))
    return frame(side, f'<p class="answer">{escape(best)}</p>{bars}<p class="note">{escape(note)}</p>', method, proof)


def answer(side: str, reply: dict, method: str, proof: dict | None, paragraph: str, right: str = "") -> str:
    """The answer in large, marked in the paragraph, and how probable the side finds that there is none."""
    said = str(reply.get("answer") or "")
    wrote = " ".join(str(reply.get("wrote") or "").split())
    silence = "No answer in the text" if wrote else "Wrote nothing"
    head = f'<p class="answer">{escape(said)}</p>' if said else f'<p class="answer none">{silence}</p>'
    body = f'<p class="text">{marked(paragraph, reply.get("start"), reply.get("end"))}</p>'
    bars = html.bars([("P(no answer)", reply.get("p_no_answer"))], reply.get("threshold"))
    bars += '<p class="note">P(no answer): how probable it finds it to write “unanswerable”, as it is asked to.</p>'
    if not said:
        remark = f"Wrote “{wrote}”" if wrote else "counts as no answer"
    else:
        remark = "not in these words in the paragraph" if reply.get("start") is None else ""
    facts = (right, remark, words.latency(reply.get("seconds")))
    note = escape(" · ".join(filter(None, facts)))
    return frame(side, f'{head}{body}{bars}<p class="note">{note}</p>', method, proof)


def marked(paragraph: str, start: int | None, end: int | None) -> str:
    """The escaped paragraph with one span marked; positions that do not fit mark nothing."""
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(paragraph):
        return escape(paragraph)
    return f"{escape(paragraph[:start])}<mark>{escape(paragraph[start:end])}</mark>{escape(paragraph[end:])}"


def conversation(side: str, turns: Sequence[dict], method: str) -> str:
    """What was said on one side, as plain text: nothing of a model is read as HTML or Markdown."""
    said = "".join(
        f'<p class="{"user" if turn["role"] == "user" else "bot"}">{escape(str(turn["content"]))}</p>' for turn in turns
    )
    return frame(
        side, f'<div class="talk" role="log" aria-label="{NAMES[side]} conversation" tabindex="0">{said}</div>', method
    )


def word_strip(effects: Sequence[Sequence], names: Sequence[str], method_side: str = "fine-tuned") -> str:
    """The words of the sentence, underlined by how much they moved the answer: solid blue for the last label."""
    if not effects or len(names) < 2:
        return ""
    largest = max(abs(float(effect)) for _, effect in effects) or 1.0
    strip = " ".join(_word(str(word), float(effect), abs(float(effect)) / largest) for word, effect in effects)
    says = (
        f"Change of the {method_side} log-odds when a word is left out: solid blue spoke for “{names[-1]}”, "
        f"dashed orange for “{names[0]}”."
    )
    return html.page(f'<h2>Which words moved it</h2><p class="strip">{strip}</p><p class="note">{escape(says)}</p>')


def _word(word: str, effect: float, strength: float) -> str:
    if strength < 0.08:
        return f"<span>{escape(word)}</span>"
    colour, line = ("--tuned-fill", "solid") if effect > 0 else ("--broken-fill", "dashed")
    mix = f"color-mix(in srgb, var({colour}) {30 + 70 * strength:.0f}%, transparent)"
    title = escape(f"{words.decimal(effect, 2, sign=True)} log-odds", quote=True)
    return f'<span title="{title}" style="border-bottom:3px {line} {mix}">{escape(word)}</span>'


def prompt(shown: dict | None) -> str:
    """Exactly what both sides read, folded away: the text, then its tokens."""
    if not shown or not shown.get("text"):
        return ""
    tokens = [str(token) for token in shown.get("tokens") or ()]
    pieces = "".join(f'<span class="tok">{escape(token)}</span> ' for token in tokens)
    cut = " The paragraph was cut to fit." if shown.get("truncated") else ""
    count = f'<p class="note">{words.count(len(tokens))} tokens, the same for both sides.{cut}</p>' if tokens else ""
    inner = f"<pre>{escape(str(shown['text']))}</pre>{count}" + (f"<pre>{pieces}</pre>" if tokens else "")
    return html.fold("The exact prompt", inner)
