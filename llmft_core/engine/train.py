"""Learning through transformers' Trainer, on prompt trees: one optimizer step sees `batch_size` examples, packed."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from llmft_core.engine import attention, evaluate, frozen, load, threads
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.prompts import Encoded, Prompter
from llmft_core.engine.reading import head_only_at, inputs, passes
from llmft_core.engine.tree import PACKED, Layout, Packing
from llmft_core.tasks.base import Example, Task

TOKENS_AT_ONCE = {"cpu": 1024, "mps": 4096, "cuda": 16384}  # padded tokens per forward pass; a step may take several


@dataclass(frozen=True)
class Lesson:
    """One training example as ids: what is read and what must be written after it."""

    prompt: Encoded
    answer: tuple[int, ...]


def lessons_of(task: Task, prompter: Prompter, examples: Sequence[Example], longest: int) -> list[Lesson]:
    """Examples as ids, in their order. An unanswerable question is taught as the abstention."""
    prompts = evaluate.encode(task, prompter, examples, longest)
    answers = (example.answers[0] if example.answers else task.abstention for example in examples)
    return [Lesson(p, prompter.answer(a)) for p, a in zip(prompts, answers, strict=True)]


@dataclass(frozen=True)
class Progress:
    """Numbers of one logged step; `loss` is the mean cross-entropy per answer token in nats since the last one.

    `examples` are all that were learnt from, `fresh` those of this session: since step `since`, where it went on.
    """

    step: int = 0
    steps: int = 0
    loss: float = 0.0
    learning_rate: float = 0.0
    examples: int = 0
    examples_per_second: float = 0.0
    since: int = 0
    fresh: int = 0


@dataclass(frozen=True)
class Schooling:
    """How long and how strongly; `probes` is how often the held-out examples are scored in the whole run."""

    epochs: float
    batch_size: int
    learning_rate: float
    patience: int
    seed: int
    probes: int = 10
    headline: str = ""


def plan(lessons: Sequence[Lesson], batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """Which lessons each optimizer step sees: those of one paragraph together, paragraphs shuffled anew each epoch.

    Every lesson is seen once per epoch; a paragraph with more questions than `batch_size` is spread over several steps.
    """
    paragraphs: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, lesson in enumerate(lessons):
        paragraphs[lesson.prompt.prefix].append(index)
    steps_in_all = max(1, round(epochs * len(lessons) / batch_size))
    random = np.random.default_rng(seed)
    steps: list[list[int]] = []
    for _ in range(math.ceil(epochs)):
        chunks = []
        for members in paragraphs.values():
            shuffled = random.permutation(members).tolist()
            chunks += [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
        steps += _fill([chunks[i] for i in random.permutation(len(chunks))], batch_size)
    return steps[: max(steps_in_all, 1)] if epochs != int(epochs) else steps


def _fill(chunks: list[list[int]], batch_size: int) -> list[list[int]]:
    """Steps of `batch_size` lessons: chunks one after the other, the one at a border cut in two."""
    order = [index for chunk in chunks for index in chunk]
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


class Steps(torch.utils.data.Dataset):
    """The whole schooling as a list: item i is what optimizer step i sees."""

    def __init__(self, lessons: Sequence[Lesson], steps: list[list[int]]):
        self.lessons, self.steps = lessons, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> list[Lesson]:
        return [self.lessons[i] for i in self.steps[index]]


def answer_loss(lm: LanguageModel, layout: Layout, model: torch.nn.Module | None = None) -> torch.Tensor:
    """Summed cross-entropy in nats of all answer tokens, with gradients; `model` is a wrapper (DDP) around the same."""
    target = layout.targets
    with head_only_at(lm, target["row"], target["column"]):
        logits = (model or lm.model)(**inputs(lm, layout), use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float(), target["token"], reduction="sum")


class TreeTrainer(Trainer):
    """Trainer whose batch is one step's lessons as prompt trees, and whose evaluation is the task's own metric."""

    def __init__(self, lm: LanguageModel, probe: Callable[[int], dict[str, float]] | None, **kwargs):
        super().__init__(model=lm.model, **kwargs)
        self.lm, self.probe = lm, probe
        self.attention = attention.to_learn_with(lm, tokens_at_once(lm))
        # Not `TrainingArguments.bf16`, which leaves the model in mixed precision: its answers are measured next.
        is_mixed = load.trains_mixed(lm)
        self.mixed = partial(torch.autocast, lm.device.type, torch.bfloat16, is_mixed)
        self.frozen = frozen.matrices(lm.model) if is_mixed else []

    def train(self, *args, **kwargs):
        with frozen.stored_in(torch.bfloat16, self.frozen):
            return super().train(*args, **kwargs)

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Mean loss per answer token of the step. Each pass goes backward by itself, so one graph lives at a time."""
        model.train()
        layouts = inputs["layouts"]
        tokens = sum(len(layout.targets["token"]) for layout in layouts)
        total = torch.zeros((), device=self.lm.device)
        for layout in layouts:
            threads.fit()
            is_last = layout is layouts[-1]
            with nullcontext() if is_last else self.accelerator.no_sync(model):  # processes agree once a step
                with self.mixed(), attention.switched(self.lm, self.attention):
                    loss = answer_loss(self.lm, layout.to(self.lm.device), model) / tokens
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """The probe's metrics as `eval_<name>`, seen by early stopping and by the choice of the best checkpoint."""
        was_training = self.model.training
        self.model.eval()
        with frozen.stored_in(torch.float32, self.frozen):
            found = self.probe(self.state.global_step)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.model.train(was_training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Listener(TrainerCallback):
    """Passes progress on, and stops the training when asked to."""

    def __init__(self, say: Callable[[Progress], None], should_stop: Callable[[], bool], steps: list[list[int]]):
        self.say, self.should_stop, self.stopped = say, should_stop, False
        self.seen = np.cumsum([0, *map(len, steps)])  # examples after each step
        self.since, self.last = 0, (0, 0.0)

    def on_train_begin(self, args, state, control, **_):
        self.since, self.last = state.global_step, (state.global_step, time.perf_counter())

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in (logs or {}):
            return
        before, then = self.last
        step, now = state.global_step, time.perf_counter()
        self.last = (step, now)
        self.say(
            Progress(
                step=step,
                steps=state.max_steps,
                loss=float(logs["loss"]),
                learning_rate=float(logs["learning_rate"]),
                examples=int(self.seen[step]),
                examples_per_second=float(self.seen[step] - self.seen[before]) / max(now - then, 1e-9),
                since=self.since,
                fresh=int(self.seen[step] - self.seen[self.since]),
            )
        )

    def on_step_end(self, args, state, control, **_):
        control.should_log |= state.global_step == state.max_steps  # the curve ends where the training does
        if self.should_stop():
            self.stopped = control.should_training_stop = control.should_save = control.should_log = True
            args.load_best_model_at_end = False  # a cancelled run keeps its last weights, not its best
        return control


def teach(
    lm: LanguageModel,
    lessons: Sequence[Lesson],
    schooling: Schooling,
    folder: Path,
    say: Callable[[Progress], None],
    probe: Callable[[int], dict[str, float]] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
) -> bool:
    """Train `lm.model` in place; with `patience`, leave it at its best probe. False if it was stopped before its end.

    Checkpoints (best and last) lie in `folder`. Only parameters that require gradients are trained.
    """
    steps = plan(lessons, schooling.batch_size, schooling.epochs, schooling.seed)
    every = max(1, len(steps) // schooling.probes)
    listener = Listener(say, should_stop, steps)
    stopper = [EarlyStoppingCallback(schooling.patience)] if probe and schooling.patience else []
    trainer = TreeTrainer(
        lm,
        probe,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=len(steps),
            per_device_train_batch_size=1,
            eval_strategy="steps" if probe else "no",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=2,
            load_best_model_at_end=bool(stopper),
            metric_for_best_model=f"eval_{schooling.headline}" if stopper else None,
            greater_is_better=True if stopper else None,
            remove_unused_columns=False,
            **arguments(lm, schooling, len(steps)),
        ),
        train_dataset=Steps(lessons, steps),
        eval_dataset=Steps(lessons, steps[:1]) if probe else None,
        data_collator=lambda items: {"layouts": lay_out_lessons(lm, items[0])},
        callbacks=[listener, *stopper],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder) if resume else None)
    lm.model.eval()
    return not listener.stopped


def arguments(lm: LanguageModel, schooling: Schooling, steps: int) -> dict:
    """What any Trainer of this model is told for this schooling: optimizer, schedule, order, and what it reports."""
    return {
        "learning_rate": schooling.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": min(100, max(1, steps // 20)),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "use_cpu": lm.device.type == "cpu",
        "optim": "adamw_torch_fused",
        "logging_steps": max(1, steps // 60),
        "logging_nan_inf_filter": False,
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": schooling.seed,
    }


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; the state is written last, so one without it was cut off while it was saved."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def lay_out_lessons(lm: LanguageModel, lessons: Sequence[Lesson], packing: Packing = PACKED) -> list[Layout]:
    """One step as prompt trees with the answers as leaves; rows of like length share a pass, to pad little."""
    prompts, leaves = [lesson.prompt for lesson in lessons], [(lesson.answer,) for lesson in lessons]
    return list(passes(lm, prompts, leaves, packing, tokens_at_once(lm)))


def tokens_at_once(lm: LanguageModel) -> int:
    """Padded tokens that its device learns from in one pass."""
    return TOKENS_AT_ONCE.get(lm.device.type, 1024)
