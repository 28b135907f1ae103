"""Can a model copy, and does it know when not to? Exercises that it has not practised, and drills."""

from itertools import islice

import torch

from llmft_core.engine import threads
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.pretraining import practice, rows
from llmft_core.engine.pretraining.rows import ANSWER_WEIGHT, Piece
from llmft_core.engine.pretraining.teacher import Teacher
from llmft_core.engine.reading import masks
from llmft_core.tasks import squad_v2

PARTS = {
    "quoted": practice.Level(quoted=1.0, unanswerable=0.0),
    "words_left_out": practice.Level(quoted=0.0, unanswerable=0.0),
    "unanswerable": practice.Level(quoted=0.0, unanswerable=1.0),
    "twisted": practice.Level(quoted=0.0, unanswerable=1.0, twisted=1.0),
}
BLOCK, BATCH, DRILLS = 384, 16, 64


@torch.inference_mode()
def sit(lm: LanguageModel, texts: list[str], questions: int = 400, seed: int = 1) -> dict[str, dict]:
    """For each part of the exam {"n", "right"}: the share of answers whose first token is the most probable one.

    Of drills, "n" counts the tokens that are said again. Raises ValueError for texts that give too few exercises,
    and for a model that does not bear prompt trees.
    """
    if not lm.bears_trees:
        raise ValueError(
            f"{lm.source} cannot read several questions on one passage at once, so it cannot sit the exam."
        )
    tokenizer = lm.tokenizer
    articles = [text for text in texts if not practice.is_review(text)]
    refusal = Teacher(tokenizer, [], BLOCK, seed).ids(f" {squad_v2.ABSTENTION}")[0]
    found = {}
    for name, level in PARTS.items():
        teacher, marks = Teacher(tokenizer, [], BLOCK, seed), []
        pieces = (piece for text in articles for piece in teacher.reading(text, level))
        while len(marks) < questions and (batch := list(islice(pieces, BATCH))):
            tokens, right, weights = _read(lm, batch)
            first = (weights == ANSWER_WEIGHT) & (torch.nn.functional.pad(weights[:, :-1], (1, 0)) != ANSWER_WEIGHT)
            wanted = first & (tokens.eq(refusal) == (level.unanswerable > 0))
            marks += right[wanted].tolist()
        if len(marks) < questions:
            raise ValueError(f"The text gives {len(marks)} of {questions} questions ({name}); give a longer one.")
        found[name] = {"n": questions, "right": sum(marks[:questions]) / questions}
    teacher = Teacher(tokenizer, [], BLOCK, seed)
    _, right, weights = _read(lm, [teacher.drill() for _ in range(DRILLS)])
    marks = right[weights > 0]
    return found | {"drills": {"n": len(marks), "right": float(marks.float().mean())}}


def _read(lm, pieces: list[Piece]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The next tokens, whether the model foretells each, and their weights, all [B, BLOCK - 1]; a piece to a row."""
    fill = rows.plain([0] * BLOCK)
    packed = [rows.pack(iter([piece]), iter([fill]), BLOCK, 1, 1.0)[0] for piece in pieces]
    batch = {name: value.to(lm.device) for name, value in rows.collate(packed).items()}
    visible, positions = batch.pop("attention_mask")[:, 0], batch["position_ids"]
    batch["attention_mask"] = masks(lm, visible, positions, positions)
    tokens, weights = batch.pop("labels"), batch.pop("weights")
    starts = torch.tensor([len(piece.ids) for piece in pieces], device=lm.device)
    weights[torch.arange(BLOCK - 1, device=lm.device) >= starts[:, None] - 1] = 0  # what fills the row
    threads.fit()
    return tokens, lm.causal(**batch, use_cache=False).logits[:, :-1].argmax(-1).eq(tokens), weights
