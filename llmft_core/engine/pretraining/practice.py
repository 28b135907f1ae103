"""Exercises made from plain text alone: cloze questions over a passage, and the rating that a reviewer wrote himself.

Nobody labelled anything: an answer is a span of the passage, or a number that stands in the review.
"""

import random
import re
from typing import NamedTuple

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
RATING = re.compile(r"(?<![\d./])(10|[0-9](?:\.5)?)\s?(?:/|out of)\s?10(?!\d)", re.IGNORECASE)
REVIEW = re.compile(r"\b(?:I|i|you|film|movie|it's|don't|I'm)\b")
RATED = re.compile(r"\d\s?/\s?\d|out of", re.IGNORECASE)
SHORTEST, LONGEST = 15, 130  # words of a passage
MOST_QUESTIONS = 8


class Exercise(NamedTuple):
    """A passage and what is asked about it; the answer is None where the passage does not give it."""

    passage: str
    questions: tuple[tuple[str, str | None], ...]


class Level(NamedTuple):
    """How hard the practice is: shares of questions that quote a sentence word by word, and that have no answer."""

    quoted: float
    unanswerable: float


def level(tokens: int) -> Level:
    """The level after so many tokens of practice.

    Copying is learnt from quotes; a model that may abstain before it can copy learns nothing else.
    """
    return Level(1 - 0.75 * _ramp(tokens, 1.5e6, 6e6), 0.33 * _ramp(tokens, 2.5e6, 7e6))


def _ramp(tokens: int, start: float, end: float) -> float:
    return min(1.0, max(0.0, (tokens - start) / (end - start)))


def is_review(text: str) -> bool:
    """Whether a text talks about a film in the first or second person, as reviews do; articles do not."""
    return len(REVIEW.findall(text)) >= 3


def sentences(text: str) -> list[str]:
    """The sentences of a text, lines and headings apart."""
    found = (piece.strip() for line in text.split("\n") for piece in SENTENCE_END.split(line))
    return [sentence for sentence in found if len(sentence.split()) >= 4]


def _length(dice: random.Random) -> int:
    return dice.randint(SHORTEST, LONGEST if dice.random() < 0.6 else LONGEST // 3)


def passages(text: str, dice: random.Random) -> list[list[str]]:
    """Runs of whole sentences of one document, each long enough to ask about; short ones are common."""
    found, run, words, goal = [], [], 0, _length(dice)
    for sentence in sentences(text):
        length = len(sentence.split())
        if length > 60:
            continue
        run.append(sentence)
        words += length
        if words >= goal:
            found.append(run)
            run, words, goal = [], 0, _length(dice)
    return found + [run] if words >= SHORTEST else found


def spans(sentence: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of what can be asked for in a sentence: number, name, phrase."""
    numbers = [(m.start(), m.end(), "number") for m in NUMBER.finditer(sentence)]
    names = [(m.start(), m.end(), "name") for m in NAME.finditer(sentence) if m.start() or " " in m.group()]
    phrases = [(m.start(1), m.end(1), "phrase") for m in PHRASE.finditer(sentence)]
    return [span for span in numbers + names + phrases if sentence[span[0] : span[1]].lower() not in STOP]


def ask(sentence: str, span: tuple[int, int, str], dice: random.Random, quoted: float) -> str:
    """A question to which the span is the answer, in the words of the sentence around it, all or some of them."""
    start, end, kind = span
    left, right = sentence[:start].split(), sentence[end:].rstrip(".!?\"' ").split()
    left, right = left[-dice.randint(4, 12) :], right[: dice.randint(3, 9)]
    wh = _question_word(sentence[start:end], kind, dice)
    if dice.random() < quoted:
        return _as_question([*left, wh, *(right if dice.random() < 0.5 or not left else [])])
    left, right = ([word.strip(',;:()"') for word in side if dice.random() > _drop(word)] for side in (left, right))
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


def _drop(word: str) -> float:
    return 0.35 if word.lower() in STOP else 0.12


def _question_word(answer: str, kind: str, dice: random.Random) -> str:
    if kind == "number":
        return dice.choice(
            ["when", "what year", "in what year"] if YEAR.fullmatch(answer) else ["how many", "how much"]
        )
    if kind == "name":
        return dice.choice(["who", "what", "which", "who", "where"])
    return dice.choice(["what", "what", "which", "what type of", "how"])


def exercises(text: str, dice: random.Random, level: Level) -> list[Exercise]:
    """Reading practice over one document; some questions about a passage are answered by another of its passages."""
    parts = passages(text, dice)
    found = []
    for index, part in enumerate(parts):
        whole, questions, used = " ".join(part), [], set()
        strangers = [s for other in range(len(parts)) if other != index for s in parts[other]]
        for _ in range(MOST_QUESTIONS):
            foreign = bool(strangers) and dice.random() < level.unanswerable
            sentence = dice.choice(strangers if foreign else part)
            choices = spans(sentence)
            if not choices:
                continue
            kind = dice.choice(sorted({span[2] for span in choices}))
            span = dice.choice([span for span in choices if span[2] == kind])
            answer = sentence[span[0] : span[1]]
            if (sentence, span) in used or (foreign and answer.lower() in whole.lower()):
                continue
            used.add((sentence, span))
            questions.append((ask(sentence, span, dice, level.quoted), None if foreign else answer))
        if questions:
            found.append(Exercise(whole, tuple(questions)))
    return found


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
