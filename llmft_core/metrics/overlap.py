"""How much wording an answer shares with the accepted answers: BLEU, METEOR and ROUGE, as their packages compute them.

They are meant for questions that have an answer; where there is none they are NaN, and an abstention scores 0. A
perfect system does not reach 1 on all of them: METEOR gives n matching words 1 - 0.5 / n**3 (one word: 0.5), ROUGE-2
gives one word 0, ROUGE reads only a-z and 0-9, and the corpus BLEU of answers without a single 4-gram is 0.
"""

import zipfile
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from threading import Lock

import numpy as np

_REMEMBERED = 1 << 16  # distinct texts or pairs kept by each cache below


def overlap_item(prediction: str, golds: Sequence[str]) -> dict[str, float]:
    """Sentence BLEU, METEOR and ROUGE-1/2/L of one item, each the best over the golds. NaN without golds."""
    names = ("bleu_sentence", "meteor", "rouge1", "rouge2", "rougeL")
    if len(golds) == 0:
        return dict.fromkeys(names, float("nan"))
    if not prediction.strip():
        return dict.fromkeys(names, 0.0)
    return {
        "bleu_sentence": sentence_bleu(prediction, golds),
        "meteor": meteor(prediction, golds),
        **rouge(prediction, golds),
    }


# --- BLEU: sacreBLEU, tokeniser 13a, case kept, exponential smoothing ---


def sentence_bleu(prediction: str, golds: Sequence[str]) -> float:
    """BLEU of one answer with effective order: n-grams longer than the answer do not count, so "France" can score 1."""
    return _bleu(prediction, _distinct(golds))[0]


def bleu_stats(prediction: str, golds: Sequence[str]) -> list[int]:
    """Counts that corpus BLEU needs of one item: [answer length, closest gold length, 4 matches, 4 n-gram totals].

    They add up over items, so corpus BLEU and its bootstrap need no text. All zero without golds.
    """
    return list(_bleu(prediction, _distinct(golds))[1]) if len(golds) else [0] * 10


def bleu_from_stats(stats: Sequence[float]) -> float:
    """Corpus BLEU of summed `bleu_stats` (10 numbers); 0, not an error, if nothing was written."""
    from sacrebleu.metrics.bleu import BLEU

    counts = [int(count) for count in stats]
    score = BLEU.compute_bleu(counts[2:6], counts[6:10], counts[0], counts[1], smooth_method="exp").score
    return min(score / 100, 1.0)


def corpus_bleu(predictions: Sequence[str], golds_list: Sequence[Sequence[str]]) -> float:
    """sacreBLEU's corpus BLEU with several references; items without golds are left out."""
    pairs = zip(predictions, golds_list, strict=True)
    stats = [bleu_stats(prediction, golds) for prediction, golds in pairs if len(golds)]
    return bleu_from_stats(np.sum(stats, axis=0)) if stats else 0.0


@lru_cache(maxsize=_REMEMBERED)
def _bleu(prediction: str, golds: tuple[str, ...]) -> tuple[float, tuple[int, ...]]:
    result = _bleu_scorer().sentence_score(prediction, golds)
    return min(result.score / 100, 1.0), (result.sys_len, result.ref_len, *result.counts, *result.totals)


@cache
def _bleu_scorer():
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="13a", smooth_method="exp", effective_order=True)


# --- ROUGE: rouge-score without stemmer, F-measure ---


def rouge(prediction: str, golds: Sequence[str]) -> dict[str, float]:
    """ROUGE-1, -2 and -L of one answer, each the best F-measure over the golds."""
    scores = _rouge_scorer().score_multi(_distinct(golds), prediction)
    return {name: float(score.fmeasure) for name, score in scores.items()}


@cache
def _rouge_scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_RougeWords())


class _RougeWords:
    """rouge-score's own tokeniser, which it would otherwise run again for every pair."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self.tokenize = lru_cache(maxsize=_REMEMBERED)(DefaultTokenizer(use_stemmer=False).tokenize)


# --- METEOR: nltk (the 2007 form: alpha 0.9, beta 3, gamma 0.5), its word tokeniser without sentence splitting ---


def meteor(prediction: str, golds: Sequence[str], wordnet=None) -> float:
    """METEOR of one answer, the best over the golds. Words match if equal in lower case, by stem, or as synonyms.

    `wordnet` is anything with nltk's `synsets(word)`; by default nltk's WordNet where its data is installed, else none.
    """
    from nltk.translate.meteor_score import single_meteor_score

    written, stemmer, synonyms = _words(prediction), _stemmer(), wordnet or _WORDNET
    return max(
        single_meteor_score(_words(gold), written, stemmer=stemmer, wordnet=synonyms) for gold in _distinct(golds)
    )


def meteor_uses_synonyms() -> bool:
    """Whether METEOR matches synonyms here. If not, name it "METEOR (no synonyms)": it is a little lower."""
    return _WORDNET.load()


@lru_cache(maxsize=_REMEMBERED)
def _words(text: str) -> tuple[str, ...]:
    from nltk.tokenize import word_tokenize

    return tuple(word_tokenize(text, preserve_line=True))  # splitting sentences would need downloaded data


@cache
def _stemmer():
    from nltk.stem.porter import PorterStemmer

    class Stemmer:
        stem = staticmethod(lru_cache(maxsize=_REMEMBERED)(PorterStemmer().stem))

    return Stemmer


class _WordNet:
    """nltk's WordNet, or no synonyms at all where its data is not installed.

    Its reader is lazy and seeks in files that all threads share, so one lock guards the loading and every first
    look-up.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._reader = None
        self._tried = False
        self._known: dict[str, list] = {}

    def load(self) -> bool:
        with self._lock:
            if not self._tried:
                self._reader, self._tried = _installed_wordnet(), True
            return self._reader is not None

    def synsets(self, word: str) -> list:
        if not self.load():
            return []
        with self._lock:
            if word not in self._known:
                self._known[word] = self._reader.synsets(word)
            return self._known[word]


_WORDNET = _WordNet()


def _installed_wordnet():
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError, zipfile.BadZipFile):
        return None
    return wordnet


def _distinct(golds: Iterable[str]) -> tuple[str, ...]:
    # Annotators often agree: a repeated gold changes none of these scores.
    return tuple(dict.fromkeys(golds))
