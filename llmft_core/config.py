"""Everything that decides a run: one line per setting, with its sentence and limits.

The flags of `fine-tune`, the controls of the Train tab and config.json all derive from `RunConfig`.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmft_core import models

Method = Literal["lora", "full"]
Split = Literal["official", "80-20", "grouped"]
Preset = Literal["demo", "lora", "coursework"]


class RunConfig(BaseModel):
    """One run. A field left None takes the preset's value, the learning rate that of the method too (`resolved`)."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    model: str = Field("mini", description="Model to teach: a key of `models`, a Hub id or a local folder.")
    task: str = Field("sst2", description="Task to teach: a name from `tasks`.")
    preset: Preset = Field("demo", description="Starting values for the settings below.")
    split: Split = Field("official", description="Which rows are learnt from and which are tested on.")
    method: Method | None = Field(None, description="lora: small added matrices; full: every weight.")
    train_examples: int | None = Field(
        None, ge=0, le=10_000_000, description="Most examples to learn from; 0 means all."
    )
    eval_examples: int | None = Field(
        None, ge=0, le=10_000_000, description="Most examples to test on, the same for both sides; 0 means all."
    )
    epochs: float | None = Field(None, gt=0, le=100, description="Times that each example is seen.")
    batch_size: int | None = Field(None, ge=1, le=4096, description="Examples per optimizer step.")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak learning rate of AdamW.")
    lora_rank: int | None = Field(None, ge=1, le=1024, description="Rank of the LoRA matrices (lora only).")
    lora_embeddings: bool | None = Field(
        None, description="LoRA on the input embeddings too (lora only; for small models)."
    )
    patience: int | None = Field(
        None, ge=0, le=100, description="Probes without improvement before stopping early; 0 never stops."
    )
    probe_examples: int | None = Field(
        None, ge=0, le=100_000, description="Held-out training examples scored while learning."
    )
    max_length: int | None = Field(
        None, ge=32, le=1_000_000, description="Longest prompt in tokens; longer paragraphs are cut."
    )
    seed: int = Field(1, ge=0, le=2**31 - 1, description="Seed of split, order and new weights.")
    data_dir: str | None = Field(None, description="Folder with <task>/train.parquet and <task>/validation.parquet.")
    data_file: str | None = Field(None, description="One file with rows: parquet, csv, json or jsonl.")

    def resolved(self) -> "RunConfig":
        """The same run with every empty setting filled from its preset."""
        is_large = models.is_large(self.model)
        values = PRESETS[self.preset] | TASK_PRESETS.get((self.preset, self.task), {})
        values |= LARGE_PRESETS.get(self.preset, {}) if is_large else {}
        rates = DEMO_RATES if self.preset == "demo" and not is_large else RATES
        values["learning_rate"] = rates[self.method or values["method"]]
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return RunConfig(**(values | given))


# Learning rates by method: all weights at once bear less than an adapter does, a billion of them less than a million.
DEMO_RATES = {"lora": 4e-3, "full": 1e-3}
RATES = {"lora": 2e-4, "full": 3e-5}
# `None` for train_examples or eval_examples means all of them.
PRESETS: dict[str, dict] = {
    "demo": dict(method="lora", train_examples=4000, epochs=1, batch_size=32,
                 lora_rank=16, lora_embeddings=True, patience=0, probe_examples=128, max_length=512),
    "lora": dict(method="lora", epochs=3, batch_size=16,
                 lora_rank=16, lora_embeddings=False, patience=2, probe_examples=500, max_length=1024),
    "coursework": dict(method="full", epochs=5, batch_size=16,
                       lora_rank=16, lora_embeddings=False, patience=2, probe_examples=500, max_length=1024),
}  # fmt: skip
TASK_PRESETS: dict[tuple[str, str], dict] = {
    ("demo", "squad_v2"): dict(train_examples=3000, eval_examples=500, probe_examples=64),
}


WRONG = {
    "float_parsing": "is not a number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "bool_parsing": "must be yes or no",
    "finite_number": "must be a finite number",
}
OF_LORA = ("lora_rank", "lora_embeddings")  # mean nothing to a run that learns every weight
# A small model has most of what it knows of words in its embeddings.
LARGE_PRESETS: dict[str, dict] = {"demo": dict(lora_embeddings=False)}


def make(**settings) -> RunConfig:
    """A checked, resolved config. Raises ValueError with one sentence that names the flag."""
    try:
        return RunConfig(**{key: value for key, value in settings.items() if value is not None}).resolved()
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise ValueError(f"{flag} {first['input']!r} {_said(first)}.") from None


def _said(error: dict) -> str:
    """What is wrong with a value, as `--epochs 0` goes on: "must be greater than 0"."""
    return WRONG.get(error["type"]) or error["msg"].replace("Input should", "must", 1)
