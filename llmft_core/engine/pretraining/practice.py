"""Exercises made from plain text alone: cloze questions over a passage, and the rating that a reviewer wrote himself.

Nobody labelled anything: an answer is a span of the passage, or a number that stands in the review.
"""

import random
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[A-Z\"'(])")
NUMBER = re.compile(r"(?<![\w.,])\$?\d[\d,.]*\d(?:\s(?:million|billion|percent|years|miles|kilometres|km))?|\b\d\b")
NAME = re.compile(r"\b[A-Z][\w’'-]+(?:\s(?:(?:of|the|and|de|von|for|in)\s){0,2}[A-Z][\w’'-]+)*")
PHRASE = re.compile(r"\b(?:an?|the|its|his|her|their|by|of|as|with|for)\s((?:[a-z-]{3,}\s){0,2}[a-z-]{4,})\b")
YEAR = re.compile(r"(?:1[0-9]|20)\d\d")
STOP = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "for", "from", "had", "has", "have", "he", "her")
    + ("his", "in", "is", "it", "its", "of", "on", "or", "s", "she", "that", "the", "their", "they", "this", "to")
    + ("was", "were", "which", "who", "will", "with", "would", "also")
)
PREPOSITIONS = frozenset(("at", "in", "near"))
MONTHS = frozenset(
    ("January", "February", "March", "April", "June", "July", "August", "September", "October", "November", "December")
)  # May is a verb too
PLACES_AND_TIMES = frozenset(("when", "where", "in what year"))
RATING = re.compile(r"(?<![\d./])(10|[0-9](?:\.5)?)\s?(?:/|out of)\s?10(?!\d)", re.IGNORECASE)
REVIEW = re.compile(r"\b(?:I|i|you|film|movie|it's|don't|I'm)\b")
RATED = re.compile(r"\d\s?/\s?\d|out of", re.IGNORECASE)
SHORTEST = 15  # words of a passage
MOST_QUESTIONS = 8
TRIES = 8  # at a question: many a sentence names nothing that could be asked for or exchanged
FEWEST_WORDS = 4  # of a question: "Which?" can be answered by nobody
Span = tuple[int, int, str]  # start, end, kind: number, name or phrase
Asked = TypeVar("Asked")


class Exercise(NamedTuple):
    """A passage and what is asked about it; the answer is None where the passage does not give it."""

    passage: str
    questions: tuple[tuple[str, str | None], ...]


class Level(NamedTuple):
    """How hard the practice is: which questions are asked, as shares, and about how much text.

    `quoted` of all questions say a sentence word by word; the others leave out `left_out` times as many of the words
    that matter as at first. `unanswerable` of all have no answer, and `twisted` of those are about the passage itself,
    which has about `longest` words at most.
    """

    quoted: float
    unanswerable: float
    twisted: float = 0.0
    left_out: float = 1.0
    longest: int = 130


def level(tokens: int) -> Level:
    """The level after so many tokens of practice.

    Copying is learnt from quotes; a model that may abstain before it can copy learns nothing else. What makes a
    question about the passage itself unanswerable can be learnt only when questions are understood.
    """
    late = _ramp(tokens, 20e6, 25e6)
    return Level(
        quoted=1 - 0.75 * _ramp(tokens, 1.5e6, 6e6) - 0.05 * late,
        unanswerable=0.33 * _ramp(tokens, 2.5e6, 7e6),
        twisted=0.6 * late,
        left_out=1 + late,
        longest=130 + round(120 * late),
    )


def _ramp(tokens: int, start: float, end: float) -> float:
    return min(1.0, max(0.0, (tokens - start) / (end - start)))


def is_review(text: str) -> bool:
    """Whether a text talks about a film in the first or second person, as reviews do; articles do not."""
    return len(REVIEW.findall(text)) >= 3


def sentences(text: str) -> list[str]:
    """The sentences of a text, lines and headings apart."""
    found = (piece.strip() for line in text.split("\n") for piece in SENTENCE_END.split(line))
    return [sentence for sentence in found if len(sentence.split()) >= 4]


def _length(longest: int, dice: random.Random) -> int:
    return dice.randint(SHORTEST, max(SHORTEST, longest if dice.random() < 0.6 else longest // 3))


def passages(text: str, longest: int, dice: random.Random) -> list[list[str]]:
    """Runs of whole sentences of one document, each long enough to ask about; short ones are common."""
    found, run, words, goal = [], [], 0, _length(longest, dice)
    for sentence in sentences(text):
        length = len(sentence.split())
        if length > 60:
            continue
        run.append(sentence)
        words += length
        if words >= goal:
            found.append(run)
            run, words, goal = [], 0, _length(longest, dice)
    return found + [run] if words >= SHORTEST else found


def spans(sentence: str) -> list[Span]:
    """What can be asked for in a sentence."""
    numbers = [(m.start(), m.end(), "number") for m in NUMBER.finditer(sentence)]
    names = [(m.start(), m.end(), "name") for m in NAME.finditer(sentence) if m.start() or " " in m.group()]
    phrases = [(m.start(1), m.end(1), "phrase") for m in PHRASE.finditer(sentence)]
    return [span for span in numbers + names + phrases if sentence[span[0] : span[1]].lower() not in STOP]


def twist(sentence: str, span: Span, others: list[str], dice: random.Random) -> tuple[str, Span, str] | None:
    """The sentence with a name or number beside the span exchanged for one of other sentences: it says what is not so.

    With it the span in its new place, and what was put in; None where nothing can be exchanged.
    """
    start, end, kind = span
    beside = [s for s in spans(sentence) if s[2] != "phrase" and (s[1] < start or s[0] > end)]
    if not beside:
        return None
    first, last, wanted = dice.choice(beside)
    taken = sentence[first:last].lower()
    strangers = {o[s[0] : s[1]] for o in others for s in spans(o) if s[2] == wanted}
    strangers = sorted(s for s in strangers if s.lower() not in sentence.lower() and taken not in s.lower())
    if not strangers:
        return None
    put_in = dice.choice(strangers)
    move = len(put_in) - (last - first) if first < start else 0
    return sentence[:first] + put_in + sentence[last:], (start + move, end + move, kind), put_in


def ask(sentence: str, span: Span, dice: random.Random, quoted: float, left_out: float = 1.0) -> str:
    """A question to which the span is the answer, in the words of the sentence around it, all or some of them."""
    start, end, kind = span
    left, right = sentence[:start].split(), sentence[end:].rstrip(".!?\"' ").split()
    left, right = left[-dice.randint(4, 12) :], right[: dice.randint(3, 9)]
    wh = _question_word(sentence[start:end], kind, left[-1].lower() if left else "", dice)
    if left and wh in PLACES_AND_TIMES and left[-1].lower() in PREPOSITIONS:
        left.pop()
    if dice.random() < quoted:
        return _as_question([*left, wh, *(right if dice.random() < 0.5 or not left else [])])
    left, right = (
        [word.strip(',;:()"') for word in side if dice.random() > _drop(word, left_out)] for side in (left, right)
    )
    if left and not left[0].isupper() and left[0].lower() in STOP:
        left[0] = left[0].lower()
    form = dice.random()
    if not left or (form < 0.35 and right):
        words = [wh, *right, *(["of", *left] if left and form < 0.1 else left if form < 0.35 else [])]
    elif form < 0.75:
        words = [wh, dice.choice(["did", "was", "is", "does", "were"]), *left, *right]
    else:
        words = [*left, wh, *right]
    return _as_question(words)


def _as_question(words: list[str]) -> str:
    text = " ".join(word for word in words if word)
    return text[:1].upper() + text[1:] + "?"


def _drop(word: str, left_out: float) -> float:
    return 0.35 if word.lower() in STOP else 0.12 * left_out


def _question_word(answer: str, kind: str, before: str, dice: random.Random) -> str:
    if kind == "number":
        return dice.choice(
            ["when", "what year", "in what year"] if YEAR.fullmatch(answer) else ["how many", "how much"]
        )
    if kind == "name":
        if answer.split()[0] in MONTHS:
            return "when"
        if dice.random() < 0.6 and before in PREPOSITIONS:
            return "where"
        return dice.choice(["who", "who", "what", "which"])
    return dice.choice(["what", "what", "which", "what type of", "how"])


def exercises(text: str, dice: random.Random, level: Level) -> list[Exercise]:
    """Reading practice over one document; the same may be asked for again in other words."""
    parts = passages(text, level.longest, dice)
    found = []
    for index, part in enumerate(parts):
        strangers = [s for other in range(len(parts)) if other != index for s in parts[other]]
        questions = {}
        for _ in range(MOST_QUESTIONS):
            if asked := _question(part, strangers, dice, level):
                questions.setdefault(*asked)
        if questions:
            found.append(Exercise(" ".join(part), tuple(questions.items())))
    return found


def _question(
    part: list[str], strangers: list[str], dice: random.Random, level: Level
) -> tuple[str, str | None] | None:
    """A question about a passage with its answer, if it has one; None where the passage gives no such question."""
    if dice.random() >= level.unanswerable:
        return _tried(lambda: _answered(part, dice, level))
    twisted = dice.random() < level.twisted and _tried(lambda: _twisted(part, strangers, dice, level))
    question = twisted or _tried(lambda: _foreign(part, strangers, dice, level))
    return (question, None) if question else None


def _tried(once: Callable[[], Asked | None]) -> Asked | None:
    """The first of a few tries that gives something."""
    return next((found for _ in range(TRIES) if (found := once())), None)


def _asked(sentence: str, span: Span, dice: random.Random, level: Level) -> str | None:
    """A question of this level, if enough of the sentence is left in it."""
    question = ask(sentence, span, dice, level.quoted, level.left_out)
    return question if len(question.split()) >= FEWEST_WORDS else None


def _answered(part: list[str], dice: random.Random, level: Level) -> tuple[str, str] | None:
    sentence = dice.choice(part)
    span = _chosen(sentence, dice)
    question = span and _asked(sentence, span, dice, level)
    return (question, sentence[span[0] : span[1]]) if question else None


def _foreign(part: list[str], strangers: list[str], dice: random.Random, level: Level) -> str | None:
    """A question that another passage of the document answers."""
    sentence = dice.choice(strangers) if strangers else ""
    span = _chosen(sentence, dice)
    is_foreign = span and sentence[span[0] : span[1]].lower() not in " ".join(part).lower()
    return _asked(sentence, span, dice, level) if is_foreign else None


def _twisted(part: list[str], strangers: list[str], dice: random.Random, level: Level) -> str | None:
    """A question about the passage itself in which a name or number is a wrong one."""
    sentence = dice.choice(part)
    span = _chosen(sentence, dice)
    others = [other for other in part if other != sentence] + strangers
    if not (twisted := span and twist(sentence, span, others, dice)):
        return None
    sentence, span, put_in = twisted
    question = _asked(sentence, span, dice, level)
    return question if question and put_in in question else None


def _chosen(sentence: str, dice: random.Random) -> Span | None:
    """One of the spans of a sentence, each kind as likely as the others."""
    choices = spans(sentence)
    if not choices:
        return None
    kind = dice.choice(sorted({span[2] for span in choices}))
    return dice.choice([span for span in choices if span[2] == kind])


def rated_pieces(review: str, dice: random.Random, most: int = 12) -> list[tuple[str, str]]:
    """(a few sentences, rating of ten) from a review in which its writer gives one; the rating itself is cut out."""
    rating = RATING.search(review)
    if not rating:
        return []
    rest = [sentence for sentence in sentences(review) if not RATED.search(sentence)]
    value = f"{round(float(rating.group(1)))}"
    found = []
    for _ in range(min(most, len(rest))):
        at = len(rest) - 1 - int(dice.random() ** 1.5 * len(rest))  # judgements stand near the end
        found.append((" ".join(rest[at : at + dice.choice([1, 1, 2, 3])]), value))
    return found


def cut_into_tokens(text: str) -> str:
    """Lower case, punctuation and clitics set apart by spaces: how older corpora, SST among them, spell English."""
    text = re.sub(r"([.,!?;:()\"]|--|\.\.\.)", r" \1 ", text.lower())
    text = re.sub(r"n't\b", " n't", text)
    text = re.sub(r"('(?:s|re|ve|ll|d|m))\b", r" \1", text)
    return " ".join(text.split())
