"""Weights enter here: a model with its tokenizer, on the device and in the precision that fit; base, LoRA or full."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from llmft_core import models


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its tokenizer, ready to answer; `source` is the folder or Hub id it came from."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    device: torch.device

    @property
    def causal(self) -> PreTrainedModel:
        """The transformers model itself, also when peft has put adapters into it."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def context(self) -> int:
        """Most tokens that fit in one prompt and its answer."""
        return int(getattr(self.causal.config, "max_position_embeddings", 0) or 2048)

    @contextmanager
    def zero_shot(self):
        """Inside this block the adapter is switched off: the model is the base, bit for bit."""
        if isinstance(self.model, PeftModel):
            with self.model.disable_adapter():
                yield self
        else:
            yield self


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

    Only safetensors are read and no remote code is run. Raises ValueError for a folder that cannot be loaded, and the
    Hub library's own errors for a model that cannot be downloaded.
    """
    source, device = resolve(name), pick_device()
    with _damage_in_words(source):
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=pick_dtype(device, full), use_safetensors=True)
        model = model.to(device).eval()
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if adapter is not None:
        if not (adapter / "adapter_model.safetensors").is_file():
            raise ValueError(f"{adapter}: holds no adapter_model.safetensors, the only format that is read.")
        with _damage_in_words(adapter):
            model = PeftModel.from_pretrained(model, str(adapter)).eval()
    return LanguageModel(model, tokenizer, source, device)


def with_new_adapter(lm: LanguageModel, rank: int, embeddings: bool = False) -> LanguageModel:
    """The same model with fresh LoRA matrices on every linear layer (alpha = 2 × rank); only those are trained.

    `embeddings` puts one on the input embeddings too: a small model has most of what it knows of words in there.
    """
    targets = {name.split(".")[-1] for name, module in lm.model.named_modules() if isinstance(module, torch.nn.Linear)}
    targets -= {
        name.split(".")[-1] for name, module in lm.model.named_modules() if module is lm.model.get_output_embeddings()
    }
    if embeddings:
        targets |= {
            n.split(".")[-1] for n, module in lm.model.named_modules() if module is lm.model.get_input_embeddings()
        }
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=sorted(targets), task_type="CAUSAL_LM"
    )
    return LanguageModel(get_peft_model(lm.model, config), lm.tokenizer, lm.source, lm.device)


def local_folder(source: str) -> Path:
    """The folder that holds the model's files: itself, or the Hub's cache of a model that was loaded before."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, local_files_only=True))


@contextmanager
def _damage_in_words(folder: str | Path):
    """A local folder that cannot be loaded is named. What lies behind it `worker.reasons` tells, from the cause."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if not Path(folder).is_dir():
            raise
        raise ValueError(f"{folder} could not be loaded: {str(error).splitlines()[0][:300]}") from error
