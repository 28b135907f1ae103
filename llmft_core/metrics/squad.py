"""One SQuAD v2 answer against its accepted answers, by the rules of the official script (evaluate-v2.0.py).

Lower case, drop ASCII punctuation, drop the articles a, an, the, collapse white space, in this order. What is left is
compared as a string (exact match) or as a bag of words (F1). An empty rest means "no answer": "The." abstains.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 16)
def normalise(text: str) -> str:
    """The official normal form. Only ASCII punctuation goes: an en dash or a curly apostrophe stays."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1 if the prediction has the normal form of any gold, else 0. No golds (or only empty ones): the answer is ""."""
    return float(normalise(prediction) in map(normalise, _accepted(golds)))


def f1(prediction: str, golds: Sequence[str]) -> float:
    """Largest F1 of the prediction's bag of words with that of a gold; two empty bags agree."""
    return max(_token_f1(gold, prediction) for gold in _accepted(golds))


def squad_item(prediction: str, golds: Sequence[str]) -> dict[str, float]:
    """Both official scores of one item."""
    return {"exact_match": exact_match(prediction, golds), "f1": f1(prediction, golds)}


def contains_gold(prediction: str, golds: Sequence[str]) -> float:
    """1 if the words of some gold stand in the prediction, in order: tells a talkative answer from an ignorant one."""
    words = f" {normalise(prediction)} "
    return float(any(f" {normalise(gold)} " in words for gold in golds if normalise(gold)))


def _accepted(golds: Iterable[str]) -> list[str]:
    return [gold for gold in golds if normalise(gold)] or [""]


def _token_f1(gold: str, prediction: str) -> float:
    gold_words, words = normalise(gold).split(), normalise(prediction).split()
    if not gold_words or not words:
        return float(gold_words == words)
    same = sum((Counter(gold_words) & Counter(words)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(words), same / len(gold_words)
    return 2 * precision * recall / (precision + recall)
