"""What a small model is taught: documents become pieces of token ids, as text, reading practice, ratings and chats."""

import random
from collections.abc import Iterator
from itertools import accumulate

from transformers import PreTrainedTokenizerFast

from llmft_core.engine.pretraining import practice, rows
from llmft_core.engine.pretraining.rows import Piece
from llmft_core.tasks import squad_v2
from llmft_core.tasks.base import Example

SPELT_APART = 0.4  # share of the reviews that are lower-cased and cut into tokens, as SST-2 is
CHAT_SHARE = 0.25  # chats per document
PASSAGE_WORDS = 0.44  # of the longest passage, per token of a block: two thirds of it, and 1.5 tokens a word
WARM_UP = 400_000  # tokens of practice with a drill after every other piece: from drills, copying is learnt in minutes
DRILLS = 0.02  # share of the pieces that are drills, later on


class Teacher:
    """Turns documents into pieces of token ids: plain text, reading practice, ratings and chats."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, chats: list[list[dict]], block: int, seed: int, practised: int = 0
    ):
        self.tokenizer, self.chats, self.block, self.dice = tokenizer, chats, block, random.Random(seed)
        self.practised = practised  # tokens of exercises so far

    def ids(self, text: str) -> list[int]:
        """Token ids without BOS."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def text(self, texts: list[str]) -> Iterator[Piece]:
        """Every document once, as BOS … EOS; some reviews cut into tokens, and a chat now and then."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        for text in texts:
            apart = self.dice.random() < SPELT_APART and practice.is_review(text)
            yield rows.plain([bos, *self.ids(practice.cut_into_tokens(text) if apart else text), eos])
            if self.chats and self.dice.random() < CHAT_SHARE:
                turns = self.dice.choice(self.chats)
                yield rows.plain(self.ids(self.tokenizer.apply_chat_template(turns, tokenize=False)))

    def exercises(self, texts: list[str]) -> Iterator[Piece]:
        """Reading practice from articles and ratings from reviews, round and round with new questions each time.

        Drills first, and easy questions before hard ones (`practice.level`). It ends if nothing fits into a block.
        """
        while True:
            asked = 0
            for text in texts:
                level = practice.level(self.practised)
                level = level._replace(longest=min(level.longest, int(self.block * PASSAGE_WORDS)))
                for piece in self._ratings(text) if practice.is_review(text) else self.reading(text, level):
                    asked += 1
                    yield from self._counted(piece)
                    if self.dice.random() < (0.5 if self.practised < WARM_UP else DRILLS):
                        yield from self._counted(self.drill())
            if not asked:
                return

    def _counted(self, piece: Piece) -> Iterator[Piece]:
        self.practised += len(piece.ids)
        yield piece

    def drill(self) -> Piece:
        """Tokens without sense, said again and again; only what is said again is asked for."""
        once = self.dice.choices(range(len(self.tokenizer)), k=self.dice.randint(4, self.block // 4))
        size = min(self.block, len(once) * self.dice.randint(2, 5))
        ids = (once * 5)[:size]
        return Piece(ids, list(range(size)), [rows.TRUNK] * size, [0] * (len(once) + 1) + [1] * (size - len(once) - 1))

    def reading(self, text: str, level: practice.Level) -> Iterator[Piece]:
        """Exercises over the passages of one article, questions and answers as the SQuAD v2 task says them.

        The first questions of each, as many as fit into a block after the passage.
        """
        for passage, questions in practice.exercises(text, self.dice, level):
            first, branches = None, []
            for question, answer in questions:
                prompt = squad_v2.prompt(Example("", "", passage, question, ()))
                first = first or [self.tokenizer.bos_token_id, *self.ids(prompt.prefix)]
                branches.append((self.ids(prompt.question), self._answer(answer or squad_v2.ABSTENTION)))
            room = self.block - len(first)
            lengths = accumulate(len(question) + len(answer) for question, answer in branches)
            if fitting := [branch for branch, length in zip(branches, lengths, strict=True) if length <= room]:
                yield rows.exercise(first, fitting)

    def _ratings(self, text: str) -> Iterator[Piece]:
        for some, rating in practice.rated_pieces(text, self.dice):
            some = practice.cut_into_tokens(some) if self.dice.random() < 0.6 else some
            prompt = f"How good is this film, out of ten?\n{some}\nRating:"
            piece = rows.exercise([self.tokenizer.bos_token_id], [(self.ids(prompt), self._answer(rating))])
            if len(piece.ids) <= self.block:
                yield piece

    def _answer(self, text: str) -> list[int]:
        return [*self.ids(f" {text}"), self.tokenizer.eos_token_id]
