"""One run from beginning to end, as a story: load, zero-shot, train, fine-tuned, verdict, weights."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from transformers import set_seed

from llmft_core import checks, files, statistics, tasks
from llmft_core.config import RunConfig
from llmft_core.engine import data, evaluate, exact, load, train, weights
from llmft_core.engine.prompts import Prompter
from llmft_core.events import Evaluated, Event, Note, Stage, Step
from llmft_core.runs import Cancelled, Run
from llmft_core.worker import cache, provenance, report
from llmft_core.worker.lessons import Lessons

KEEP_FLOAT32_BELOW = 500_000_000  # parameters: larger full fine-tunes are saved in bf16
BETWEEN_TICKS = 0.5  # seconds


class Telling:
    """The run's voice and its clock: says stages, and stops a long evaluation when asked to."""

    def __init__(self, say: Callable[[Event], None], should_stop: Callable[[], bool]):
        self.say, self.should_stop = say, should_stop
        self.begun = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int = 0):
        """Say that a stage begins, take its time, and hand out a tick for its progress."""
        self.say(Stage(name, 0, total))
        start = last = time.perf_counter()

        def tick(done: int) -> None:
            nonlocal last
            if self.should_stop():
                raise Cancelled(0)
            if time.perf_counter() - last > BETWEEN_TICKS:
                last = time.perf_counter()
                self.say(Stage(name, done, total))

        yield tick
        self.seconds[name] = time.perf_counter() - start


def run(run: Run, say: Callable[[Event], None], should_stop: Callable[[], bool], resume: bool = False) -> None:
    """Work the run off and write its files. Raises Cancelled when asked to stop; the last weights are kept then."""
    config, telling = run.config.resolved(), Telling(say, should_stop)
    with telling.stage("loading"):
        parts = Lessons(config)
    write_environment(parts, run, resume)
    if not parts.lm.bears_trees:
        say(Note(exact.slower(parts.lm)))
    before = zero_shot(parts, telling)
    plain, total = next_token_logits(parts), parts.lm.model.num_parameters()
    trainable, seen = learn(parts, run.path, telling, resume)
    save_weights(parts, run.path)
    after = fine_tuned(parts, telling)
    proof = side_proof(parts, plain)
    with telling.stage("weights"):
        changes = weight_changes(config, run.path)
    result = report.compare(parts.task, parts.data.test, before, after) | {
        "method": config.method,
        "model": config.model,
        "split": config.split,
        "source": parts.data.source,
        "seed": config.seed,
        "parameters": {"total": total, "trainable": trainable},
        "leakage": parts.data.leakage,
        "truncated": int(before["truncated"].sum()),
        "side_proof": proof,
        "prompt_tree": parts.lm.bears_trees,
        **times(telling, len(before), seen),
    }
    both = pd.concat([before.assign(side="zero_shot"), after.assign(side="fine_tuned")], ignore_index=True)
    both.to_parquet(run.path / "predictions.parquet", index=False)
    changes.to_parquet(run.path / "weights.parquet", index=False)
    files.write_json(run.path / "metrics.json", result)  # last: its presence says that the result is whole


def write_environment(parts: Lessons, run: Run, resume: bool) -> None:
    """Note what the run begins with, before it learns; what is resumed must begin with the same base."""
    if resume:
        checks.same_base(run)
    precision = "bf16" if load.trains_mixed(parts.lm) or parts.lm.causal.dtype == torch.bfloat16 else "float32"
    base = checks.base_digest(parts.config.model)
    about = provenance.environment(parts.data.source, parts.data.fingerprint, base, precision)
    files.write_json(run.path / "environment.json", about)


def zero_shot(parts: Lessons, telling: Telling) -> pd.DataFrame:
    """Rows of the untouched model, from the cache where the same question was answered before."""
    test, key = parts.data.test, cache.key(parts)
    with telling.stage("zero-shot", len(test)) as tick:
        known = cache.read(key)
        before = known[0] if known else parts.examine(test, tick)
    if known:
        telling.seconds["zero-shot"] = known[1]
    else:
        cache.write(key, before, telling.seconds["zero-shot"])
    telling.say(Evaluated("zero_shot", 0, len(test), parts.task.summarise(before), final=True))
    if parts.probe:
        telling.say(Evaluated("fine_tuned", 0, len(parts.probe), parts.task.summarise(parts.examine(parts.probe))))
    return before


def learn(parts: Lessons, folder: Path, telling: Telling, resume: bool) -> tuple[int, int]:
    """Train in place: (trainable parameters, examples learnt from in this session).

    A stop keeps the last weights and raises Cancelled.
    """
    config = parts.config
    set_seed(config.seed)  # the new matrices of an adapter are drawn from it
    if config.method == "lora":
        parts.lm = load.with_new_adapter(parts.lm, config.lora_rank, config.lora_embeddings)
    trainable = sum(p.numel() for p in parts.lm.model.parameters() if p.requires_grad)
    at = train.Progress()

    def tell(progress: train.Progress) -> None:
        nonlocal at
        at = progress
        said = (at.step, at.steps, at.loss, at.learning_rate, at.examples, at.examples_per_second, at.since)
        telling.say(Step(*said))

    def probe(step: int) -> dict[str, float]:
        metrics = parts.task.summarise(parts.examine(parts.probe))
        telling.say(Evaluated("fine_tuned", step, len(parts.probe), metrics))
        return metrics

    settings = (config.epochs, config.batch_size, config.learning_rate, config.patience, config.seed)
    schooling = train.Schooling(*settings, headline=parts.task.headline)
    with telling.stage("training", len(parts.train)):
        finished = train.teach(
            parts.lm,
            parts.lessons(),
            schooling,
            folder / "checkpoints",
            tell,
            probe if parts.probe else None,
            telling.should_stop,
            resume,
        )
    if not finished:
        save_weights(parts, folder)
        raise Cancelled(at.step)
    return trainable, at.fresh


def fine_tuned(parts: Lessons, telling: Telling) -> pd.DataFrame:
    """Rows of the model after training, on the same examples in the same order."""
    with telling.stage("fine-tuned", len(parts.data.test)) as tick:
        after = parts.examine(parts.data.test, tick)
    telling.say(Evaluated("fine_tuned", -1, len(after), parts.task.summarise(after), final=True))
    return after


def next_token_logits(parts: Lessons) -> torch.Tensor:
    """What the model as it is now would write next after the first test prompt."""
    return report.probe_logits(parts.lm, parts.prompter, parts.task, parts.data.test[0], parts.longest)


def side_proof(parts: Lessons, plain: torch.Tensor) -> dict[str, bool]:
    """That the fine-tuned side differs from the model as loaded, and after LoRA that the zero-shot side equals it."""
    tuned = next_token_logits(parts)
    proof = {"tuned_differs": not torch.allclose(plain, tuned)}
    if parts.config.method == "lora":  # after full fine-tuning there is no base in memory to compare
        with parts.lm.zero_shot():
            proof["base_equal"] = torch.equal(plain, next_token_logits(parts))
    return proof


def save_weights(parts: Lessons, folder: Path) -> None:
    """The adapter to `adapter/`, or the whole model to `model/`, as safetensors."""
    if parts.config.method == "lora":
        parts.lm.model.save_pretrained(folder / "adapter", save_embedding_layers=False)  # the base has them
        return
    model = parts.lm.model
    dtype = torch.float32 if model.num_parameters() < KEEP_FLOAT32_BELOW else torch.bfloat16
    model.to(dtype).save_pretrained(folder / "model", max_shard_size="2GB")
    parts.lm.tokenizer.save_pretrained(folder / "model")


def weight_changes(config: RunConfig, folder: Path) -> pd.DataFrame:
    """How far each tensor moved, read from the files."""
    base = checks.local_folder(load.resolve(config.model))
    if config.method == "lora":
        return weights.lora_changes(base, folder / "adapter")
    return weights.full_changes(base, folder / "model")


def times(telling: Telling, tested: int, seen: int) -> dict:
    """Seconds per stage of this session, and examples per second of training and of each side's evaluation."""
    taken = telling.seconds
    done = {"zero-shot": tested, "fine-tuned": tested, "training": seen}
    names = {"zero-shot": "zero_shot", "fine-tuned": "fine_tuned", "training": "train"}
    return {
        "seconds": {names.get(k, k): round(v, 2) for k, v in taken.items()}
        | {"total": round(time.perf_counter() - telling.begun, 2)},
        "speed": {names[name]: round(count / max(taken[name], 1e-9), 2) for name, count in done.items()},
    }


def evaluate_only(request: dict) -> dict:
    """One model on a task's test rows: what `evaluate --json` prints. `request` is that of `api.evaluate`."""
    start, task = time.perf_counter(), tasks.find(request["task"])
    test = data.load_test(
        task, request["split"], request["data_dir"], request["data_file"], request["seed"], request["examples"]
    )
    run = Run(Path(request["run"])) if request.get("run") else None
    if run and request["adapter"]:
        checks.same_base(run)
    lm = load.load(request["model"], adapter=Path(request["adapter"]) if request["adapter"] else None)
    asked = run.config.resolved().max_length if run else None
    longest = min(asked or RunConfig(preset="lora").resolved().max_length, lm.context)
    begin = time.perf_counter()
    rows = evaluate.predict(lm, Prompter(lm.tokenizer), task, test.test, longest)
    taken = time.perf_counter() - begin
    return {
        "task": task.name,
        "model": request["model_path"],
        "split": test.split,
        "n": len(rows),
        "metrics": task.summarise(rows),
        "intervals": statistics.intervals(task, rows),
        "seconds": round(time.perf_counter() - start, 3),
        "examples_per_second": round(len(rows) / taken, 2),
        "source": test.source,
        "seed": request["seed"],
        "device": str(lm.device),
        "prompt_tree": lm.bears_trees,
        "truncated": int(rows["truncated"].sum()),
    }
