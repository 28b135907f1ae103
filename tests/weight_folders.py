"""Folders for the tests of weight changes: pairs of tiny models, adapters with chosen settings, edited copies."""

import tiny
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def trio(architecture, root):
    """(base, adapter, merged) of a tiny "llama" or "gemma2": the folders of a model, a LoRA for it, and both as one."""
    base = getattr(tiny, architecture)(root / "base")
    adapter = tiny.adapter(base, root / "adapter")
    return base, adapter, merged(base, adapter, root / "merged")


def opened(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def merged(base, adapter, out):
    PeftModel.from_pretrained(opened(base), adapter).merge_and_unload().save_pretrained(out)
    return out


def with_adapter(base, out, b_std=0.3, **settings):
    """Save an adapter with these LoRA settings and random B; the peft model it came from."""
    torch.manual_seed(2)
    model = get_peft_model(
        opened(base), LoraConfig(**({"r": 4, "lora_alpha": 7, "target_modules": ["q_proj"]} | settings))
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "lora_embedding" in name:
            torch.nn.init.normal_(parameter, std=b_std)
    model.save_pretrained(out)
    return model


def edited(folder, out, edit):
    """A copy of a model folder with its tensors changed by `edit(tensors)`."""
    opened(folder).save_pretrained(out)
    tensors = load_file(out / "model.safetensors")
    edit(tensors)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


def noise(seed, scale=0.01):
    def edit(tensors):
        generator = torch.Generator().manual_seed(seed)
        for tensor in tensors.values():
            tensor += scale * torch.randn(tensor.shape, generator=generator)

    return edit


def one_tensor(folder, values):
    """A checkpoint of a single matrix."""
    folder.mkdir()
    save_file({"model.layers.0.mlp.up_proj.weight": values.contiguous()}, folder / "model.safetensors")
    return folder
