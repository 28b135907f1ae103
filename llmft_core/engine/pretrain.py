"""Pretrain a small Llama from plain text: a byte-level BPE tokenizer, then a causal language model, in Hub format."""

import math
from collections.abc import Set
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from llmft_core import files
from llmft_core.engine import attention, load, reading, threads
from llmft_core.engine.pretraining import corpus, rounding, rows
from llmft_core.engine.pretraining.optimizer import MuonAdamW
from llmft_core.engine.pretraining.teacher import Teacher
from llmft_core.engine.pretraining.tokenizer import train_tokenizer

SHARD_SIZE = "9MB"  # a Space takes no file over 10 MB without large-file storage
NOTES = "pretraining.json"
ROWS_AT_ONCE = 4  # on a CPU: the logits of more rows do not stay in its cache, and cost a third of the time


@dataclass(frozen=True)
class Recipe:
    """The size of the model and the length of its schooling; the defaults are those of the first stretch of `mini`."""

    vocabulary: int = 8192
    hidden: int = 256
    intermediate: int = 704
    layers: int = 6
    heads: int = 4
    key_value_heads: int = 2
    context: int = 1024
    block: int = 384
    batch_size: int = 20
    steps: int = 1650
    learning_rate: float = 8e-3
    decay: float = 0.4
    exercises: float = 0.45
    seed: int = 1
    save_every: int = 50
    significant_bits: int = 8
    compile: bool = False


class Rows(torch.utils.data.Dataset):
    """Packed rows as training items."""

    def __init__(self, packed: list[rows.Row]):
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> rows.Row:
        return self.packed[index]


class Progress(TrainerCallback):
    """One line of JSON per logging step: a pretraining is followed with `tail -f`."""

    def __init__(self, is_compiled: bool):
        self.is_compiled = is_compiled  # for a number of threads: another one would be compiled anew

    def on_step_begin(self, args, state, control, **_):
        if not self.is_compiled:
            threads.fit()

    def on_log(self, args, state, control, logs=None, **_):
        print(
            files.to_json({"step": state.global_step, **{k: round(float(v), 5) for k, v in (logs or {}).items()}}),
            flush=True,
        )


class WeightedTrainer(Trainer):
    """Trainer whose loss is the mean cross-entropy per unit of weight: answers count more than the text around them.

    On a CPU a step takes its rows a few at a time; its loss is the mean of theirs.
    """

    def __init__(self, *args, is_compiled: bool, **more):
        super().__init__(*args, **more)
        self.model_accepts_loss_kwargs = False  # a mean of its own: the Trainer averages those of a step
        self.loss = torch.compile(weighted_loss) if is_compiled else weighted_loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.model.config._attn_implementation == "eager":
            inputs = inputs | {"attention_mask": reading.added(inputs["attention_mask"], torch.bfloat16)}
        loss = self.loss(model, **inputs)
        return (loss, None) if return_outputs else loss


def weighted_loss(model, *, labels, weights, **inputs) -> torch.Tensor:
    """Mean cross-entropy of `labels` [B, T - 1] per unit of `weights` [B, T - 1]."""
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return (each * weights.flatten()).sum() / weights.sum()


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights for this tokenizer; input and output embeddings are one matrix."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.key_value_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def sizes(model: LlamaForCausalLM) -> dict[str, int]:
    """The sizes of a model under the names of `Recipe`: those of a model that was started from are its own."""
    config = model.config
    return {
        "vocabulary": config.vocab_size,
        "hidden": config.hidden_size,
        "intermediate": config.intermediate_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "key_value_heads": config.num_key_value_heads,
        "context": config.max_position_embeddings,
    }


def practised_by(folder: Path) -> int:
    """Tokens of exercises that a model has behind it: it is not taught again what comes first."""
    told = files.read_json(folder / NOTES) if (folder / NOTES).is_file() else {}
    return int(told.get("practised", told.get("tokens", 0) * told.get("exercises", 0.0)))


def rows_at_once(batch_size: int) -> int:
    """Rows of a pass on a CPU: as many as are good, of which a whole number makes a step."""
    return max(n for n in range(1, ROWS_AT_ONCE + 1) if batch_size % n == 0)


def arguments(recipe: Recipe, checkpoints: Path) -> TrainingArguments:
    """A trapezoid: up, level, and down over the last `decay` of the steps. A longer run goes on from the level part."""
    down = math.ceil(recipe.steps * recipe.decay)
    on_gpu = torch.cuda.is_available()
    at_once = recipe.batch_size if on_gpu else rows_at_once(recipe.batch_size)
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=recipe.steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=recipe.batch_size // at_once,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": down, "decay_type": "linear"},
        warmup_steps=min(100, math.ceil(recipe.steps / 20)),
        max_grad_norm=1.0,
        bf16=load.has_bf16(load.pick_device()),
        use_cpu=not on_gpu,
        logging_steps=20,
        save_steps=recipe.save_every,
        save_total_limit=2,
        train_sampling_strategy="sequential",  # the rows are shuffled already, and a resumed run must see the next ones
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=recipe.seed,
    )


def pretrain(
    text: list[Path],
    out: Path,
    recipe: Recipe,
    resume: bool = False,
    chats: Path | None = None,
    held_out: Set[int] = frozenset(),
    start_from: Path | None = None,
) -> Path:
    """Train tokenizer and model on `text`, write an ordinary Hub-format folder (bf16 safetensors) to `out`.

    Documents that share a run of 13 words with `held_out` (`corpus.evaluation_grams`) are left out. Checkpoints lie in
    `out/checkpoints`; with `resume` the run goes on from the last one, with the tokenizer that it began with; more
    `steps` go on in the same order. `start_from` is a model of this kind whose tokenizer, sizes, weights and
    level of practice are taken over, with a fresh optimizer. Matrices are written with `significant_bits` bits.
    Raises ValueError for text that cannot be read and for less than 2 or more than 8 bits.
    """
    if not 2 <= recipe.significant_bits <= 8:
        raise ValueError(f"--significant-bits {recipe.significant_bits}: give 2 to 8; 8 are all that bf16 has.")
    set_seed(recipe.seed)
    told = corpus.chats(chats) if chats else []
    if start_from and files.read_json(start_from / "config.json").get("model_type") != "llama":
        raise ValueError(f"{start_from}: not a Llama; give --start-from 'mini' or a folder that pretrain wrote.")
    found = corpus.read(text, recipe.seed)
    texts = [document for document in found if not corpus.shares(document, held_out)]
    checkpoints = out / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    if resume and (out / "tokenizer.json").exists():
        tokenizer, practised = PreTrainedTokenizerFast.from_pretrained(out), practised_by(checkpoints)
    else:
        known = PreTrainedTokenizerFast.from_pretrained(start_from) if start_from else None
        tokenizer = known or train_tokenizer(texts, recipe.vocabulary, recipe.context)
        tokenizer.save_pretrained(out)
        practised = practised_by(start_from) if start_from else 0
        files.write_json(checkpoints / NOTES, {"practised": practised})
    teacher = Teacher(tokenizer, told, recipe.block, recipe.seed, practised)
    packed = rows.pack(
        teacher.exercises(texts), teacher.text(texts), recipe.block, recipe.steps * recipe.batch_size, recipe.exercises
    )
    if not packed:
        raise ValueError(f"The text gives less than one block of {recipe.block} tokens; add text.")
    if start_from:
        model = LlamaForCausalLM.from_pretrained(start_from, dtype=torch.float32)
    else:
        model = new_model(recipe, tokenizer)
    args = arguments(recipe, checkpoints)
    if args.bf16 and args.use_cpu and attention.keeps_little(model.config, ROWS_AT_ONCE * recipe.block**2):
        model.set_attn_implementation("eager")
    trainer = WeightedTrainer(
        model=model,
        args=args,
        train_dataset=Rows(packed),
        data_collator=rows.collate,
        optimizers=(MuonAdamW(model, recipe.learning_rate, weight_decay=0.1), None),
        callbacks=[Progress(recipe.compile)],
        is_compiled=recipe.compile,
    )
    trainer.remove_callback(PrinterCallback)
    has_checkpoint = any(checkpoints.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=True if resume and has_checkpoint else None)
    rounding.keep_bits(model, recipe.significant_bits)
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size=SHARD_SIZE)
    about = {"text": [path.name for path in text], "tokens": len(packed) * recipe.block}
    about |= {"start_from": start_from.name if start_from else None, **sizes(model)}
    about |= {"documents": len(texts), "left_out": len(found) - len(texts), "practised": teacher.practised}
    files.write_json(out / NOTES, asdict(recipe) | about)
    return out


@torch.inference_mode()
def bits_per_byte(model, tokenizer, text: str, stride: int = 256) -> float:
    """Cross-entropy of `text` in bits per UTF-8 byte. Each window of 2 × `stride` tokens scores its second half.

    Raises ValueError for an empty text.
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise ValueError("The text to measure on is empty.")
    nats = 0.0
    for start in range(0, len(ids), stride):
        fresh = ids[start : start + stride]
        seen = ids[max(0, start - stride) : start]
        row = torch.tensor([[tokenizer.bos_token_id, *seen, *fresh]], device=model.device)
        threads.fit()
        logits = model(input_ids=row, logits_to_keep=len(fresh) + 1).logits[0, :-1].float()
        nats += float(torch.nn.functional.cross_entropy(logits, row[0, -len(fresh) :], reduction="sum"))
    return nats / math.log(2) / len(text.encode("utf-8"))
