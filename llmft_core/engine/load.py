"""Weights enter here: a model with its tokenizer, on the device and in the precision that fit; base, LoRA or full."""

import os
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from llmft_core import files, models
from llmft_core.engine import exact, linear
from llmft_core.engine.language_model import LanguageModel

# transformers reads it at every pass, and then copies no keys for the heads that share them: equal results, faster on
# a CPU. It copies them for the sake of CUDA, whose kernels take a mask only so.
SHARE_KEYS = "TRANSFORMERS_SDPA_FORCE_GQA"


def pick_device() -> torch.device:
    """The first CUDA or Apple GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_dtype(device: torch.device, full: bool) -> torch.dtype:
    """float32 on a CPU and for full fine-tuning (AdamW on pure bf16 loses small updates), bf16 on a GPU otherwise."""
    return torch.float32 if full or device.type == "cpu" else torch.bfloat16


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware: most GPUs, and CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def trains_mixed(lm: LanguageModel) -> bool:
    """Whether training computes in bf16 on float32 weights."""
    return next(lm.model.parameters()).dtype == torch.float32 and has_bf16(lm.device)


def resolve(name: str) -> str:
    """The local folder or Hub id behind what a person typed. Raises ValueError if unknown or not there."""
    row = models.find(name)
    if row.is_shipped and not (Path(row.source) / "config.json").exists():
        raise ValueError(
            f"The model '{row.key}' should ship in {row.source} but is not there; clone the repository again."
        )
    return row.source


def load(name: str, *, adapter: Path | None = None, full: bool = False) -> LanguageModel:
    """A model by key, Hub id or folder, in evaluation mode; with `adapter`, the LoRA folder is put on it.

    Only safetensors are read and no remote code is run. Raises ValueError for a folder that cannot be loaded or a
    model that cannot be measured, and the Hub library's own errors for one that cannot be downloaded.
    """
    source, device = resolve(name), pick_device()
    with _damage_in_words(source):
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=pick_dtype(device, full), use_safetensors=True)
        model = model.to(device).eval()
    if device.type == "cpu":
        os.environ.setdefault(SHARE_KEYS, "1")
    if linear.pays(device):
        linear.quicken(model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    lm = LanguageModel(model, tokenizer, source, device)
    return exact.checked(lm) if adapter is None else with_adapter(lm, adapter)


def with_adapter(lm: LanguageModel, folder: Path) -> LanguageModel:
    """The same model with a LoRA folder put on it. Raises ValueError like `load`."""
    if not (folder / "adapter_model.safetensors").is_file():
        raise ValueError(f"{folder}: holds no adapter_model.safetensors, the only format that is read.")
    return exact.checked(replace(lm, model=_with_adapter(lm.model, folder)))


def _with_adapter(model: torch.nn.Module, folder: Path) -> PeftModel:
    """The model with a LoRA folder on it. Raises ValueError if some of its layers find nothing in there."""
    try:
        with _damage_in_words(folder), warnings.catch_warnings():
            warnings.filterwarnings("error", ".*missing adapter keys")  # peft only warns, and leaves those layers as is
            return PeftModel.from_pretrained(model, str(folder)).eval()
    except UserWarning:
        raise ValueError(
            f"{folder}: this adapter was made for another model than {model.name_or_path}; fine-tune again."
        ) from None


def with_new_adapter(lm: LanguageModel, rank: int, embeddings: bool = False) -> LanguageModel:
    """The same model with fresh LoRA matrices on every linear layer (alpha = 2 × rank); only those are trained.

    `embeddings` puts one on the input embeddings too: a small model has most of what it knows of words in there.
    Raises ValueError for an architecture that peft puts none on.
    """
    modules = [(name.split(".")[-1], module) for name, module in lm.model.named_modules()]
    targets = {name for name, module in modules if isinstance(module, (torch.nn.Linear, Conv1D))}
    targets -= {name for name, module in modules if module is lm.model.get_output_embeddings()}
    if embeddings:
        targets |= {name for name, module in modules if module is lm.model.get_input_embeddings()}
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=sorted(targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for _, module in modules),  # GPT-2 keeps its matrices transposed
        task_type="CAUSAL_LM",
    )
    try:
        return replace(lm, model=get_peft_model(lm.model, config))
    except ValueError as error:
        raise ValueError(f"peft puts no LoRA on {lm.architecture}: use --method full.") from error


@contextmanager
def _damage_in_words(folder: str | Path):
    """A local folder that cannot be loaded is named. What lies behind it `worker.reasons` tells, from the cause."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if not Path(folder).is_dir():
            raise
        raise ValueError(f"{folder} could not be loaded: {files.last_line(error)}") from error
