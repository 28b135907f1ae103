"""Plain text enters here: documents of .txt and .txt.xz files, without those that hold evaluation text."""

import lzma
import re
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np

from llmft_core import files, rows, tasks

DOCUMENT_BREAK = "<|doc|>"
LONGEST_PIECE = 20_000  # characters: a novel becomes many pieces, so that shuffling mixes it with the rest
GRAM = 13  # words: the length at which GPT-3 (arXiv 2005.14165, appendix C) calls an overlap contamination
WORD = re.compile(r"\w+")
CUT_CONTRACTION = re.compile(r"\s+n['’]t\b|n['’]t\b")


def documents(path: Path) -> Iterator[str]:
    """The documents of one text file (.txt, or .txt.xz), split at lines that hold only `<|doc|>`."""
    opener = lzma.open if path.suffix == ".xz" else open
    lines: list[str] = []
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            if line.strip() == DOCUMENT_BREAK:
                yield from _pieces("".join(lines))
                lines = []
            else:
                lines.append(line)
    yield from _pieces("".join(lines))


def _pieces(text: str) -> Iterator[str]:
    text = text.strip("\ufeff \n")
    for start in range(0, len(text), LONGEST_PIECE):
        yield text[start : start + LONGEST_PIECE]


def read(paths: list[Path], seed: int) -> list[str]:
    """All documents of all files, shuffled. Raises ValueError for a file that is missing, not text, or empty."""
    corpus: list[str] = []
    for path in paths:
        try:
            found = [text for text in documents(path) if text]
        except FileNotFoundError:
            raise ValueError(f"{path}: no such text file; give --text the path of a .txt or .txt.xz file.") from None
        except (UnicodeDecodeError, lzma.LZMAError, EOFError):
            raise ValueError(f"{path}: not UTF-8 text, or cut off; give --text a whole .txt or .txt.xz file.") from None
        if not found:
            raise ValueError(f"{path}: the file holds no text.")
        corpus += found
    return [corpus[index] for index in np.random.default_rng(seed).permutation(len(corpus))]


def chats(path: Path) -> list[list[dict]]:
    """Conversations, each a list of {"role", "content"}. Raises ValueError for a file that holds none."""
    try:
        found = files.read_json(path)
        whole = all({"role", "content"} <= set(turn) for turns in found for turn in turns)
    except (ValueError, TypeError):
        whole, found = False, None
    if not whole or not found:
        shape = '[[{"role": "user", "content": "Hi"}, …], …]'
        raise ValueError(f"{path}: holds no conversations; give --chats a JSON file such as {shape}.")
    return found


def grams(text: str) -> set[int]:
    """Hashes of all runs of 13 words of a text, whatever their case and punctuation; a shorter text has none.

    Contractions count alike in plain text and in text that is cut into tokens (`don't`, `do n't`).
    """
    words = WORD.findall(CUT_CONTRACTION.sub("n't", text.lower()))
    return {hash(tuple(words[start : start + GRAM])) for start in range(len(words) - GRAM + 1)}


def evaluation_grams(data_dir: str | Path) -> set[int]:
    """Hashes of the runs of 13 words in the evaluation part of every task in a data folder; shorter texts have none.

    Raises ValueError if the folder holds no such part.
    """
    found: set[int] = set()
    for task in map(tasks.find, tasks.names()):
        examples = rows.read(task, rows.file_in(task, Path(data_dir), task.splits[1]))
        for text in {text for example in examples for text in (example.shared, example.question)}:
            found |= grams(text)
    return found


def shares(text: str, held_out: Set[int]) -> bool:
    """Whether a text has a run of 13 words in common with the held-out ones."""
    return bool(held_out) and not held_out.isdisjoint(grams(text))


def overlap(paths: list[Path], data_dir: str | Path) -> dict[str, dict[str, int]]:
    """For each text file how many documents it has, and how many share a run of 13 words with evaluation examples."""
    held_out, counts = evaluation_grams(data_dir), {}
    for path in paths:
        found = [shares(text, held_out) for text in read([path], seed=0)]
        counts[path.name] = {"documents": len(found), "shared": sum(found)}
    return counts
