"""From words to token ids: the one path that training, scoring and generation share.

A prompt is two runs of ids, `prefix` (equal for all examples of a paragraph) and `question`; an answer is a third.
They are tokenized apart and joined as ids, so that no answer can change how its prompt is cut.
"""

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from llmft_core.tasks.base import Prompt

SHORTEST_PREFIX = 16  # tokens of the shared text that must be left after cutting
CUT_STEP = 32  # a text that is cut keeps a multiple of so many tokens, so that most questions still share it


class Encoded(NamedTuple):
    """Token ids of one prompt; the model reads `prefix` then `question`."""

    prefix: tuple[int, ...]
    question: tuple[int, ...]
    truncated: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prefix + self.question


class Prompter:
    """Turns prompts and answers into ids for one tokenizer: its chat template if it has one, plain text otherwise.

    A tokenizer whose configuration says `task_prompt: plain` has a template that its model was not schooled in.
    Raises ValueError if the tokenizer merges tokens across the border of prefix and question, or repeats BOS.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.is_chat = bool(tokenizer.chat_template) and tokenizer.init_kwargs.get("task_prompt") != "plain"
        self.space = "" if self.is_chat else " "
        self._assert_prefix_stable(Prompt("Read this.\nA fox ran.\n", "Question: Who ran?\nAnswer:"))

    def text(self, prompt: Prompt) -> Prompt:
        """The exact words that the model reads, chat template included."""
        if not self.is_chat:
            return prompt
        turn = [{"role": "user", "content": prompt.prefix + prompt.question}]
        whole = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        start = whole.find(prompt.prefix)
        if start < 0:
            raise ValueError(
                "The chat template rewrites the prompt, so its shared part cannot be found; use a plain prompt."
            )
        border = start + len(prompt.prefix)
        return Prompt(whole[:border], whole[border:])

    def encode(self, prompt: Prompt) -> Encoded:
        """Ids of one prompt, BOS in front at most once."""
        prefix, question = self.text(prompt)
        return Encoded(tuple(self._begin(prefix)), tuple(self._ids(question)))

    def encode_all(self, prompts: list[Prompt], longest: int, answer_room: int) -> list[Encoded]:
        """Ids of many prompts; where prompt and answer would pass `longest` tokens the shared text is cut at its end.

        The question and the instruction are never cut. Each prompt is cut by itself, whatever stands beside it; those
        that share a prefix and have questions of like length still share it afterwards.
        Raises ValueError if a question alone is too long.
        """
        texts = [self.text(prompt) for prompt in prompts]
        prefixes = {prefix: tuple(self._begin(prefix)) for prefix in dict.fromkeys(text.prefix for text in texts)}
        questions = self.tokenizer([t.question for t in texts], add_special_tokens=False)["input_ids"] if texts else []
        encoded = [Encoded(prefixes[text.prefix], tuple(ids)) for text, ids in zip(texts, questions, strict=True)]
        return [self._cut(prompt, longest, longest - answer_room) for prompt in encoded]

    def _cut(self, prompt: Encoded, longest: int, room: int) -> Encoded:
        """The prompt in at most `room` tokens."""
        room -= len(prompt.question)
        if len(prompt.prefix) <= room:
            return prompt
        if room < min(SHORTEST_PREFIX, len(prompt.prefix)):
            raise ValueError(
                f"A question is too long: with its answer it leaves no room for its text in {longest} tokens; "
                "shorten it."
            )
        if room > CUT_STEP:
            room -= room % CUT_STEP
        newline = tuple(self._ids("\n"))
        return Encoded(prompt.prefix[: room - len(newline)] + newline, prompt.question, truncated=True)

    def answer(self, text: str, end: bool = True) -> tuple[int, ...]:
        """Ids of an answer that follows a prompt, with the end-of-sequence token that is taught after it."""
        ids = tuple(self._ids(self.space + text))
        return (*ids, self.tokenizer.eos_token_id) if end else ids

    def labels(self, names: tuple[str, ...]) -> list[tuple[int, ...]]:
        """Ids of each label. Raises ValueError if one label's ids begin another's: they could not be told apart."""
        found = [self.answer(name, end=False) for name in names]
        for i, one in enumerate(found):
            for j, other in enumerate(found):
                if i != j and other[: len(one)] == one:
                    raise ValueError(
                        f"This tokenizer writes the labels '{names[i]}' and '{names[j]}' with colliding tokens; "
                        "rename a label."
                    )
        return found

    def write(self, ids: list[int]) -> str:
        """The text of generated ids, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def line_breaks(self) -> set[int]:
        """Ids of every token that holds a line break."""
        texts = self.tokenizer.batch_decode([[i] for i in range(len(self.tokenizer))])
        return {i for i, text in enumerate(texts) if "\n" in text}

    def _begin(self, text: str) -> list[int]:
        ids = self._ids(text)
        bos = self.tokenizer.bos_token_id
        if not self.is_chat and bos is not None and self.tokenizer("a")["input_ids"][0] == bos:
            ids = [bos, *ids]
        if bos is not None and bos != self.tokenizer.eos_token_id and ids.count(bos) > 1:
            raise ValueError(
                "The prompt begins with BOS more than once; the chat template of this tokenizer is broken."
            )
        return ids

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _assert_prefix_stable(self, prompt: Prompt) -> None:
        prefix, question = self.text(prompt)
        for first, second in ((prefix, question), (question, self.space + "fox")):
            if self._ids(first) + self._ids(second) != self._ids(first + second):
                raise ValueError(
                    "This tokenizer merges across the parts of a prompt; the prompt tree would not be exact."
                )
