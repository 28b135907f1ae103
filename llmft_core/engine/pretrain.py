"""Pretrain a small Llama from plain text: a byte-level BPE tokenizer, then a causal language model, in Hub format."""

import lzma
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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

DOCUMENT_BREAK = "<|doc|>"
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
USER, ASSISTANT, SYSTEM = "<|user|>", "<|assistant|>", "<|system|>"
SHARD_SIZE = "9MB"  # a Space takes no file over 10 MB without large-file storage
LONGEST_PIECE = 20_000  # characters: a novel becomes many pieces, so that shuffling mixes it with the rest

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}"
    "{% else %}<|{{ message['role'] }}|>{{ message['content'] | trim }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """The size of the model and the length of its schooling; the defaults are the shipped `mini`."""

    vocabulary: int = 8192
    hidden: int = 256
    intermediate: int = 704
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    context: int = 1024
    block: int = 256
    batch_size: int = 16
    steps: int = 2400
    learning_rate: float = 2e-3
    seed: int = 1
    save_every: int = 200


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


def read_corpus(paths: list[Path], seed: int) -> list[str]:
    """All documents of all files, shuffled. Raises ValueError for a file that is missing, not text, or empty."""
    corpus: list[str] = []
    for path in paths:
        try:
            found = list(documents(path))
        except FileNotFoundError:
            raise ValueError(f"{path}: no such text file; give --text the path of a .txt or .txt.xz file.") from None
        except (UnicodeDecodeError, lzma.LZMAError):
            raise ValueError(f"{path}: not UTF-8 text; give --text a .txt or .txt.xz file.") from None
        if not any(found):
            raise ValueError(f"{path}: the file holds no text.")
        corpus += [text for text in found if text]
    order = np.random.default_rng(seed).permutation(len(corpus))
    return [corpus[i] for i in order]


def train_tokenizer(
    corpus: list[str], vocabulary: int, context: int, sample_bytes: int = 40_000_000
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with BOS in front, learnt on the first `sample_bytes` characters of the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, SYSTEM, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    ends = np.cumsum([len(text) for text in corpus])
    sample = corpus[: int(np.searchsorted(ends, sample_bytes)) + 1]
    tokenizer.train_from_iterator(sample, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        task_prompt="plain",  # the template is there to chat with; the text it learnt from held no chats
        clean_up_tokenization_spaces=False,
    )


def pack(corpus: list[str], tokenizer: PreTrainedTokenizerFast, block: int, blocks: int) -> np.ndarray:
    """uint16 token ids, shape [blocks or fewer, block]: documents as BOS … EOS, end to end, cut into equal blocks."""
    need, ids, total = block * blocks, [], 0
    for start in range(0, len(corpus), 512):
        for piece in tokenizer(corpus[start : start + 512], add_special_tokens=False, verbose=False)["input_ids"]:
            ids.append(np.array([tokenizer.bos_token_id, *piece, tokenizer.eos_token_id], dtype=np.uint16))
            total += len(piece) + 2
        if total >= need:
            break
    stream = np.concatenate(ids)[:need]
    full = len(stream) // block
    if full == 0:
        raise ValueError(f"The text gives only {len(stream)} tokens, less than one block of {block}; add text.")
    return stream[: full * block].reshape(full, block)


class Blocks(torch.utils.data.Dataset):
    """Packed blocks as training items."""

    def __init__(self, blocks: np.ndarray):
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.blocks[index]


def collate(rows: list[np.ndarray], bos: int) -> dict[str, torch.Tensor]:
    """A batch in which no token sees another document: boolean mask [B, 1, T, T], positions restart at each BOS."""
    ids = torch.from_numpy(np.stack(rows).astype(np.int64))
    length = ids.shape[1]
    starts = ids.eq(bos)
    document = starts.cumsum(1)
    index = torch.arange(length).expand_as(ids)
    first = torch.where(starts, index, torch.zeros_like(index)).cummax(1).values
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = document[:, None, :, None].eq(document[:, None, None, :]) & causal
    labels = ids.masked_fill(starts, -100)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": index - first, "labels": labels}


class Progress(TrainerCallback):
    """One line of JSON per logging step: a pretraining is followed with `tail -f`."""

    def on_log(self, args, state, control, logs=None, **_):
        print(
            files.to_json({"step": state.global_step, **{k: round(float(v), 5) for k, v in (logs or {}).items()}}),
            flush=True,
        )


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


def pretrain(text: list[Path], out: Path, recipe: Recipe, resume: bool = False) -> Path:
    """Train tokenizer and model on `text`, write an ordinary Hub-format folder (bf16 safetensors) to `out`.

    Checkpoints lie in `out/checkpoints`; with `resume` the run goes on from the last one, with the tokenizer
    that it began with. Raises ValueError for text that cannot be read.
    """
    set_seed(recipe.seed)
    corpus = read_corpus(text, recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = out / "checkpoints"
    if resume and (out / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    else:
        tokenizer = train_tokenizer(corpus, recipe.vocabulary, recipe.context)
        tokenizer.save_pretrained(out)
    blocks = pack(corpus, tokenizer, recipe.block, recipe.steps * recipe.batch_size)
    del corpus
    model = new_model(recipe, tokenizer)
    on_gpu = torch.cuda.is_available()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(checkpoints),
            max_steps=recipe.steps,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=min(200, math.ceil(recipe.steps / 20)),
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            bf16=on_gpu,
            use_cpu=not on_gpu,
            optim="adamw_torch_fused",
            logging_steps=20,
            save_steps=recipe.save_every,
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=recipe.seed,
        ),
        train_dataset=Blocks(blocks),
        data_collator=lambda rows: collate(rows, tokenizer.bos_token_id),
        callbacks=[Progress()],
    )
    trainer.remove_callback(PrinterCallback)
    has_checkpoint = any(checkpoints.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=True if resume and has_checkpoint else None)
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size=SHARD_SIZE)
    about = {**asdict(recipe), "text": [path.name for path in text], "tokens": int(blocks.size)}
    files.write_json(out / "pretraining.json", about)
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
        logits = model(input_ids=row, logits_to_keep=len(fresh) + 1).logits[0, :-1].float()
        nats += float(torch.nn.functional.cross_entropy(logits, row[0, -len(fresh) :], reduction="sum"))
    return nats / math.log(2) / len(text.encode("utf-8"))
