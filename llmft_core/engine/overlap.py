"""Phrases in phrases: which rows are pieces of one sentence, and how much of a test set was seen while learning."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

SHORT = 3  # tokens: a shorter phrase ("a film") says nothing about where it comes from
LONGEST = 32  # tokens that are compared: a longer phrase is known by its first 32, which bounds the work for long texts
TOKEN = re.compile(r"['’]?\w+(?:['’-]\w+)*|[^\w\s]+")
Phrase = tuple[str, ...]
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that the rolling hash below loses no bits


def tokens(text: str) -> Phrase:
    """Lower-case words and punctuation marks, alike for plain text and for text that is cut into tokens already."""
    return tuple(TOKEN.findall(text.lower())) or (text,)


def families(texts: Sequence[str]) -> np.ndarray:
    """For each text the index of the longest text of its family: rows that are pieces of one sentence share it.

    1. Rows that differ in punctuation only are one family. 2. A phrase of three tokens or more belongs with every row
    that contains it (union-find over all such pairs). Three is the shortest length that keeps families apart: over the
    67,349 rows of SST-2's training part it gives a largest family of about 1 % of the rows; with two, everyday pairs
    such as "the film" tie six rows of ten into one. 3. A shorter phrase joins a family if it occurs in no other; the
    rest ("good", "a film") lie in many and stay families of their own: they are the only phrases that a grouped split
    may leave in a row of the other side.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    which, distinct = pd.factorize(pd.Series([tokens(text) for text in texts], dtype=object))
    phrases, size = list(distinct), len(distinct)
    length = np.array([len(phrase) for phrase in phrases])
    spelt, speller = _spellings(phrases)
    inner, outer = contained(spelt, phrases)
    tied = np.array([len(spelling) for spelling in spelt])[inner] >= SHORT
    inner = speller[inner]
    alike = pd.factorize(pd.Series([_words(phrase) for phrase in phrases], dtype=object))[0]
    ends = np.concatenate([inner[tied], np.arange(size)]), np.concatenate([outer[tied], size + alike])
    family = connected_components(
        coo_matrix((np.ones(len(ends[0])), ends), shape=(2 * size, 2 * size)), directed=False
    )[1]
    for short in range(SHORT - 1, 0, -1):
        longest = np.zeros(len(family), dtype=int)
        np.maximum.at(longest, family[:size], length)
        picked = (longest[family[inner]] == short) & (family[inner] != family[outer])
        homes = pd.DataFrame({"own": family[inner[picked]], "home": family[outer[picked]]}).groupby("own")["home"]
        single = homes.first()[homes.nunique() == 1]
        moved = np.isin(family, single.index)
        family[moved] = single.loc[family[moved]].to_numpy()
    order = sorted(range(len(texts)), key=lambda row: (-length[which[row]], phrases[which[row]], row))
    longest = pd.DataFrame({"family": family[which[order]], "row": order}).groupby("family")["row"].first()
    return longest.loc[family[which]].to_numpy()


def _words(phrase: Phrase) -> Phrase:
    return tuple(token for token in phrase if any(map(str.isalnum, token))) or phrase


def _spellings(phrases: list[Phrase]) -> tuple[list[Phrase], np.ndarray]:
    """Every phrase as it is, then those that begin or end with punctuation without it; and whose spelling each is."""
    spelt, speller = list(phrases), list(range(len(phrases)))
    for index, phrase in enumerate(phrases):
        worded = [place for place, token in enumerate(phrase) if any(map(str.isalnum, token))]
        if worded and worded[-1] - worded[0] + 1 < len(phrase):
            spelt.append(phrase[worded[0] : worded[-1] + 1])
            speller.append(index)
    return spelt, np.array(speller)


def share_found(test: Sequence[str], train: Sequence[str]) -> float:
    """Share of the test texts that lie in a training text as whole phrases, or hold one of three tokens or more.

    Punctuation at the ends of the inner phrase does not count.
    """
    if not len(test) or not len(train):
        return 0.0
    which, distinct = pd.factorize(pd.Series([tokens(text) for text in test], dtype=object))
    tested, trained = list(distinct), list({tokens(text) for text in train})
    found = np.zeros(len(tested), dtype=bool)
    spelt, speller = _spellings(tested)
    found[speller[contained(spelt, trained)[0]]] = True
    long_enough = [spelling for spelling in _spellings(trained)[0] if len(spelling) >= SHORT]
    found[contained(long_enough, tested)[1]] = True
    return float(found[which].mean())


def contained(phrases: list[Phrase], texts: list[Phrase]) -> tuple[np.ndarray, np.ndarray]:
    """Indices (phrase, text) of every phrase that occurs in a text as a run of whole tokens.

    Every run of every text is hashed, one length at a time, from its hash one token shorter (Rabin-Karp, 64 bits: less
    than one wrong pair in a million data sets of this size), and looked up among the phrases of that length.
    """
    if not phrases or not texts:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    codes = pd.factorize(pd.Series([word for row in phrases + texts for word in row], dtype=object))[0]
    value = np.random.default_rng(0).integers(0, 2**64, codes.max() + 1, dtype=np.uint64)[codes]
    size = np.array([len(row) for row in phrases + texts])
    begin = np.cumsum(size) - size
    count = len(phrases)
    heads, head_hash = np.arange(count), np.zeros(count, dtype=np.uint64)
    starts = np.arange(begin[count], len(value)) if count < len(size) else np.zeros(0, dtype=int)
    owner = np.repeat(np.arange(len(texts)), size[count:])
    left = np.repeat((begin + size)[count:], size[count:]) - starts
    run_hash = np.zeros(len(starts), dtype=np.uint64)
    known = np.minimum(size[:count], LONGEST)
    pairs = []
    for length in range(1, known.max() + 1):
        kept = known[heads] >= length
        heads = heads[kept]
        head_hash = head_hash[kept] * MULTIPLIER + value[begin[heads] + length - 1]
        kept = left >= length
        starts, owner, left = starts[kept], owner[kept], left[kept]
        run_hash = run_hash[kept] * MULTIPLIER + value[starts + length - 1]
        whole = np.flatnonzero(known[heads] == length)
        whole = whole[np.argsort(head_hash[whole], kind="stable")]
        table = head_hash[whole]
        if not len(whole):
            continue
        low = np.searchsorted(table, run_hash)
        found = np.flatnonzero(table[np.minimum(low, len(table) - 1)] == run_hash)
        times = np.searchsorted(table, run_hash[found], "right") - low[found]
        hit = np.repeat(found, times)
        rank = np.arange(len(hit)) - np.repeat(np.cumsum(times) - times, times)
        pairs.append((heads[whole[low[hit] + rank]], owner[hit]))
    inner, outer = (np.concatenate(side) for side in zip(*pairs, strict=True))
    unique = np.unique(inner * len(texts) + outer)
    return unique // len(texts), unique % len(texts)
