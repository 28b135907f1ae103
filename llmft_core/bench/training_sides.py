"""One turn of fine-tuning, in the child that takes it: ours, TRL's SFTTrainer, or transformers' Trainer.

All sides get the same ids, made before the clock starts, in the same order, the same fresh LoRA matrices, optimizer,
schedule and precision. The clock runs while the trainer trains: no side's tokenisation, loading or set-up counts.
"""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from llmft_core import config, tasks
from llmft_core.engine import data, load, train
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Prompter

SPLIT_SEED = 1  # of the rows that quality is learnt from, whatever seed they are learnt with
LONGEST_ROW = 1024  # tokens of a packed row: TRL's own default


@dataclass(frozen=True)
class Work:
    """What every side learns: `steps` are the lessons of each optimizer step, by their numbers."""

    lm: LanguageModel
    lessons: list[train.Lesson]
    steps: list[list[int]]
    schooling: train.Schooling
    source: str

    def rows(self) -> list[dict]:
        """All lessons in the order of the steps, as rows of a data set whose prompt tokens are not learnt."""
        lessons = [self.lessons[index] for step in self.steps for index in step]
        return [
            {"input_ids": [*x.prompt.ids, *x.answer], "labels": [-100] * len(x.prompt.ids) + list(x.answer)}
            for x in lessons
        ]

    def arguments(self, folder: str, passes: int) -> dict:
        """What a public trainer is told: the optimizer and the schedule are those of ours."""
        return train.arguments(self.lm, self.schooling, len(self.steps)) | {
            "output_dir": folder,
            "num_train_epochs": 1,
            "per_device_train_batch_size": max(1, self.schooling.batch_size // passes),
            "gradient_accumulation_steps": min(passes, self.schooling.batch_size),
            "bf16": load.trains_mixed(self.lm),
            "save_strategy": "no",
        }


def prepare(request: dict, attention: str | None = None) -> Work:
    """Rows, model and settings of the demo preset: one epoch, and LoRA where the preset puts it.

    `attention` is transformers' name of another than the model's usual one.
    """
    task, seed = tasks.find(request["task"]), request["seed"]
    settings = config.make(model=request["model"], task=task.name, preset="demo")
    examples, source = data.part(task, request["part"], request["data_dir"])
    if request.get("shuffled"):
        examples = data.take(examples, request["examples"], SPLIT_SEED)
    lm = load.load(request["model"])
    if attention:
        lm.causal.set_attn_implementation(attention)
    longest = min(settings.max_length, lm.context)
    lessons = train.lessons_of(task, Prompter(lm.tokenizer), examples[: request["examples"]], longest)
    set_seed(seed)  # the new matrices are drawn from it
    lm = load.with_new_adapter(lm, settings.lora_rank, settings.lora_embeddings)
    schooling = train.Schooling(1, settings.batch_size, settings.learning_rate, patience=0, seed=seed, probes=1)
    return Work(lm, lessons, train.plan(lessons, schooling.batch_size, 1, seed), schooling, source)


def ours(request: dict) -> tuple:
    """The engine's own way: one pass after the other over prompt trees."""
    work, heard = prepare(request), []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train.teach(work.lm, work.lessons, work.schooling, Path(folder), heard.append)
        seconds = time.perf_counter() - start
    return turn(work, request, seconds, [progress.loss for progress in heard])


def plain(request: dict) -> tuple:
    """transformers' Trainer on rows padded at the right, prompt tokens masked."""
    work = prepare(request, request["way"].get("attention"))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=work.lm.model,
            args=TrainingArguments(**work.arguments(folder, request["way"]["passes"])),
            train_dataset=Dataset.from_list(work.rows()),
            data_collator=DataCollatorForSeq2Seq(work.lm.tokenizer, padding=True),
        )
        seconds, losses = timed(trainer)
    return turn(work, request, seconds, losses)


def trl(request: dict) -> tuple:
    """TRL's SFTTrainer, loss on the completion only; without gradient checkpointing, which makes it slower."""
    from trl import SFTConfig, SFTTrainer

    way = request["way"]
    work = prepare(request, way.get("attention"))
    rows, own = work.rows(), dict(way["own"])
    arguments = work.arguments("", way.get("passes", 1))
    if own.get("packing"):
        own["max_length"], passes = packed_rows([len(row["input_ids"]) for row in rows], work.schooling.batch_size)
        arguments |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": passes}
    with tempfile.TemporaryDirectory() as folder:
        arguments |= {"output_dir": folder, "gradient_checkpointing": False}
        trainer = SFTTrainer(
            model=work.lm.model,
            args=SFTConfig(**(arguments | own)),
            train_dataset=Dataset.from_list(rows),
            processing_class=work.lm.tokenizer,
        )
        # Packing puts other examples into the first step: those of ours are read by themselves, off the clock.
        first = [first_loss(trainer, rows[: len(work.steps[0])])] if own.get("packing") else []
        seconds, losses = timed(trainer)
    return turn(work, request, seconds, first + losses)


def packed_rows(lengths: list[int], batch_size: int) -> tuple[int, int]:
    """(tokens of a row, rows of a step), so that a step sees `batch_size` examples on average."""
    step = batch_size * sum(lengths) / len(lengths)
    passes = math.ceil(step / LONGEST_ROW)
    return max(math.ceil(step / passes), *lengths), passes


def first_loss(trainer: Trainer, rows: list[dict]) -> float:
    """Mean loss per answer token of these rows, as the trainer computes it, before it has learnt anything."""
    with torch.no_grad(), trainer.compute_loss_context_manager():
        return float(trainer.compute_loss(trainer.model, trainer.data_collator(rows)))


def timed(trainer: Trainer) -> tuple[float, list[float]]:
    """Seconds of the training, and the losses it reported."""
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    return seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def turn(work: Work, request: dict, seconds: float, losses: list[float]) -> tuple:
    """(seconds, examples, results, about). With `keep`, the adapter stays in that folder."""
    if request.get("keep"):
        work.lm.model.save_pretrained(request["keep"], save_embedding_layers=False)
    about = {
        "timed": "the training loop; tokenised before",
        "precision": "bf16 autocast" if load.trains_mixed(work.lm) else str(work.lm.causal.dtype).split(".")[-1],
        "steps": len(work.steps),
        "source": work.source,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }
    return seconds, len(work.lessons), {"first_loss": losses[0]}, about
