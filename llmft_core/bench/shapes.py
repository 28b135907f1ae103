"""Models of well-known shapes with random weights, made on the spot: as fast as the real ones, and nothing to load."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmft_core import files, models

LLAMA = {"model_type": "llama", "head_dim": 64, "rms_norm_eps": 1e-5}
ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHAPES = {  # the sizes in the config.json of each
    "smollm2-135m-shape": LLAMA
    | dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3)
    | dict(vocab_size=49152, max_position_embeddings=8192, rope_parameters={"rope_type": "default", "rope_theta": 1e5}),
    "llama-3.2-1b-shape": LLAMA
    | dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32)
    | dict(num_key_value_heads=8, vocab_size=128256, max_position_embeddings=131072)
    | dict(rope_parameters=ROPE | {"original_max_position_embeddings": 8192}),
    "gemma-2-2b-shape": {"model_type": "gemma2", "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096}
    | dict(hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8)
    | dict(num_key_value_heads=4, vocab_size=256000, max_position_embeddings=8192),
}
NAMES = tuple(SHAPES)
SEED = 1
STD = 0.02  # of all matrices, as they are before training
SHARD = 1 << 29  # elements: 1 GB of bf16


def source(name: str) -> str:
    """The folder of a shape, made by a child if it is not there yet; torch stays out of this process."""
    from llmft_core import jobs

    jobs.call("side", {"where": f"{__name__}:make", "request": {"name": name}})
    return str(path(name))


def make(request: dict) -> tuple[float, int, str, dict]:
    """A side that makes the folder, and times nothing."""
    return 0.0, 1, str(folder(request["name"])), {}


def path(name: str) -> Path:
    """Where a shape lies once it is made."""
    return Path(tempfile.gettempdir()).resolve() / "llmft-shapes" / name


def is_random(model: str) -> bool:
    """Whether a model is a shape: what it writes means nothing, and it never stops."""
    return any(Path(model) == path(name) for name in NAMES)


def folder(name: str) -> Path:
    """A checkpoint in Hub format, bf16, in shards, the same for everybody: made once, then found in the temp folder.

    Its tokenizer is that of `mini`, filled up to the vocabulary of the shape. Raises ValueError for an unknown name.
    """
    if name not in SHAPES:
        raise ValueError(f"Unknown shape '{name}'. Choose one of: {', '.join(NAMES)}.")
    target = path(name)
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            write(SHAPES[name], made)
            made.rename(target)
        except OSError:
            if not target.is_dir():  # or another process was quicker
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return target


def write(shape: dict, made: Path) -> None:
    """Config, tokenizer and shards. Never more than a shard is in memory."""
    from safetensors.torch import save_file
    from transformers import AutoConfig

    mini = json.loads((Path(models.find("mini").source) / "config.json").read_text(encoding="utf-8"))
    special = {name: mini[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = AutoConfig.for_model(**shape, **special, tie_word_embeddings=True, dtype="bfloat16")
    config.save_pretrained(made)
    copy_tokenizer(made, config.vocab_size)
    shards, places, size = shapes_of(config), {}, 0
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}.safetensors"
        tensors = random_tensors(shard, number, "gemma" in config.model_type)
        save_file(tensors, made / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
        size += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (made / "model.safetensors.index.json").write_text(files.to_json(index), encoding="utf-8")


def shapes_of(config) -> Iterator[dict[str, tuple[int, ...]]]:
    """Names and shapes of the tensors of each shard, in the order of the model."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shard, size = {}, 0
    for name, parameter in model.named_parameters():  # a tied head comes once, as the input embedding
        if shard and size + parameter.numel() > SHARD:
            yield shard
            shard, size = {}, 0
        shard[name] = tuple(parameter.shape)
        size += parameter.numel()
    yield shard


def random_tensors(shard: dict[str, tuple[int, ...]], number: int, is_gemma: bool) -> dict:
    """bf16 tensors: normal matrices, and norms that scale by one (Gemma's add the one themselves)."""
    import torch

    random = torch.Generator().manual_seed(SEED + number)
    found = {}
    for name, shape in shard.items():
        tensor = torch.empty(shape, dtype=torch.bfloat16)
        found[name] = tensor.normal_(0, STD, generator=random) if len(shape) > 1 else tensor.fill_(not is_gemma)
    return found


def copy_tokenizer(made: Path, size: int) -> None:
    """mini's tokenizer with words of our own at the end: text is never cut into them, but they can be told apart."""
    mini = Path(models.find("mini").source)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        if (mini / name).exists():
            shutil.copy(mini / name, made)
    words = json.loads((mini / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = words["model"]["vocab"]
    vocabulary |= {f"[{number}]": number for number in range(len(vocabulary), size)}
    (made / "tokenizer.json").write_text(files.to_json(words), encoding="utf-8")
