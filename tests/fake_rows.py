"""What fabricated runs hold: examples, prediction rows and weight rows. Every sentence and number is made up."""

import numpy as np
import pandas as pd

from llmft_core.tasks.base import Example

SIDES = ("zero_shot", "fine_tuned")
LABELS = ("negative", "positive")
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYERS = 6
SUBJECTS = ("The kettle", "This lamp", "My bicycle", "The garden chair", "Our boat", "The old piano", "That umbrella")
PRAISE = ("is a joy from the first day", "works better than I dared to hope", "has charmed the whole street")
BLAME = ("fell apart in a week", "is dull and far too heavy", "never did what the box said")
PLACES = ("Oakmere", "Tarnfield", "Lowbridge", "Wexholm", "Fennwick")


def examples(task: str, n: int = 60) -> list[Example]:
    """`n` self-made examples; ids `0`, `1`, … as in `predictions`."""
    return [_review(i) if task == "sst2" else _question(i) for i in range(n)]


def _review(i: int) -> Example:
    gold = LABELS[i % 2]
    sentence = f"{SUBJECTS[i % 7]} {(PRAISE if i % 2 else BLAME)[i % 3]}, says visitor {i}."
    return Example(str(i), f"g{i // 2}", "", sentence, (gold,))


def _question(i: int) -> Example:
    place, year = PLACES[i // 4 % 5], 1800 + i // 4
    text = f"{place} is a village on the river Sill. Its mill was built in {year} by Ada Thorn and still grinds barley."
    questions = (
        ("Who built the mill?", ("Ada Thorn",)),
        ("When was the mill built?", (str(year), f"in {year}")),
        ("Who burnt the mill down?", ()),
        ("What does the windmill pump?", ()),
    )
    question, answers = questions[i % 4]
    return Example(str(i), f"p{i // 4}", text, question, answers)


def predictions(task: str, n: int = 60) -> pd.DataFrame:
    """Rows of both sides, zero-shot first. SST-2 holds one invalid zero-shot answer (the third row)."""
    make = _label_rows if task == "sst2" else _span_rows
    rng = np.random.default_rng(7)
    items = examples(task, n)
    return pd.concat([make(items, side, rng) for side in SIDES], ignore_index=True)


def _label_rows(items: list[Example], side: str, rng: np.random.Generator) -> pd.DataFrame:
    gold = np.array([LABELS.index(e.answers[0]) for e in items])
    pull, lean = (0.25, 0.5) if side == "zero_shot" else (1.3, 0.1)
    logit = pull * (2 * gold - 1) + lean + rng.normal(0, 1.2, len(items))
    p = 1 / (1 + np.exp(-logit))
    predicted = (p > 0.5).astype(int)
    if side == "zero_shot" and len(items) > 2:
        predicted[2] = -1
    words = np.array([*LABELS, ""])[predicted]
    return pd.DataFrame(
        {
            "side": side, "id": [e.id for e in items], "group": [e.group for e in items], "output": words,
            "answer": words, "correct": (predicted == gold).astype(float), "tokens": rng.integers(12, 40, len(items)),
            "gold": gold, "predicted": predicted, "logp_0": np.log(1 - p) - 2, "logp_1": np.log(p) - 2, "p_positive": p,
        }
    )  # fmt: skip


def _span_rows(items: list[Example], side: str, rng: np.random.Generator) -> pd.DataFrame:
    has = np.array([bool(e.answers) for e in items])
    tuned = side == "fine_tuned"
    abstain = rng.random(len(items)) < np.where(has, 0.3, 0.75) if tuned else rng.random(len(items)) < 0.93
    right = rng.random(len(items)) < (0.7 if tuned else 0.2)
    texts = [e.answers[0] if e.answers else "the river Sill" for e in items]
    answers = ["" if a else (t if r else "barley") for a, t, r in zip(abstain, texts, right, strict=True)]
    exact = np.where(has, ~abstain & right, abstain).astype(float)
    f1 = np.where(has & ~abstain & ~right, 0.4, exact)
    overlap = np.where(has, f1, np.nan)
    p_none = np.clip(rng.normal(np.where(abstain, 0.72, 0.3), 0.12), 0.01, 0.99)
    counts = np.where(has & ~abstain, 2, 0)
    stats = [[int(c), 2, *([int(e * c)] + [0] * 3), *([int(c)] + [0] * 3)] for c, e in zip(counts, exact, strict=True)]
    return pd.DataFrame(
        {
            "side": side, "id": [e.id for e in items], "group": [e.group for e in items],
            "output": [a or "no answer" for a in answers], "answer": answers, "correct": f1,
            "tokens": rng.integers(60, 120, len(items)), "has_answer": has, "exact_match": exact, "f1": f1,
            "meteor": overlap * 0.8, "rouge1": overlap, "rouge2": overlap * 0.5, "rougeL": overlap,
            "bleu_sentence": overlap * 0.6, "bleu_stats": stats, "p_no_answer": p_none,
            "answer_tokens": [len(a.split()) for a in answers],
        }
    )  # fmt: skip


def weights(method: str = "lora") -> pd.DataFrame:
    """One row per tensor of a six-layer model; the value and output projections of the late layers moved most."""
    rng = np.random.default_rng(5)
    rows = [_tensor(rng, layer, module, method) for layer in range(LAYERS) for module in MODULES]
    rows += [_tensor(rng, layer, "input_layernorm", method) for layer in range(LAYERS)]
    rows += [_tensor(rng, -1, module, method) for module in ("embed_tokens", "norm")]
    return pd.DataFrame(rows)


def _tensor(rng: np.random.Generator, layer: int, module: str, method: str) -> dict:
    moved = method == "full" or module in MODULES
    part = "self_attn" if module in MODULES[:4] else "mlp"
    inside = f"layers.{layer}.{part}." if module in MODULES else f"layers.{layer}." if layer >= 0 else ""
    size = 256 if module.endswith("norm") else 65_536 if layer >= 0 else 2_097_152
    strength = (
        (0.03 if module in ("v_proj", "o_proj") else 0.012) * (0.3 + layer / LAYERS) * rng.uniform(0.8, 1.2) * moved
    )
    base = float(size**0.5) * 0.05
    sizes = strength * base * np.exp(-0.6 * np.arange(16)) if moved and module in MODULES else np.array([])
    return {
        "tensor": f"model.{inside}{module}.weight", "layer": layer, "module": module, "parameters": size,
        "base_norm": base, "change_norm": float(strength * base), "relative_change": float(strength),
        "one_minus_cosine": float(strength**2 / 2), "share_changed": 1.0 if moved else 0.0,
        "largest_change": float(strength * 0.4), "stable_rank": 1.6 if moved else float("nan"),
        "spectral_norm": float(strength * base * 0.8), "singular_values": [float(s) for s in sizes],
        "kind": "lora" if method == "lora" else "full", "noise_floor": 0.0,
    }  # fmt: skip
