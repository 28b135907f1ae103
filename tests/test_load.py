"""Weights enter from safetensors alone, damage is named, and errors on the way to the Hub keep their kind."""

import errno
import os

import pytest
import tiny
import torch
from safetensors import SafetensorError

from llmft_core.engine import load
from llmft_core.worker.reasons import explain


def test_adapter_without_safetensors_is_refused(tmp_path):
    base = tiny.llama(tmp_path / "base")
    adapter = tiny.adapter(base, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ValueError, match="holds no adapter_model.safetensors"):
        load.load(str(base), adapter=adapter)


def test_damaged_folder_is_named(tmp_path):
    base = tiny.llama(tmp_path / "base-403")
    (base / "model.safetensors").write_bytes(b"\0" * 50)
    with pytest.raises(ValueError, match="base-403 could not be loaded") as caught:
        load.load(str(base))
    assert explain(caught.value)[0] == "bad-config", "a folder whose name holds 403 is not gated"


@pytest.mark.parametrize("error", [OSError(), RuntimeError("Error in loading:\n\tsize mismatch for lm_head")])
def test_folder_is_named_whatever_the_error_says(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    base = tiny.llama(tmp_path / "base")
    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(ValueError, match="base could not be loaded: (OSError|size mismatch for lm_head)$"):
        load.load(str(base))


def test_model_that_cannot_be_downloaded_is_a_network_error():
    with pytest.raises(OSError) as caught:
        load.load("nobody/nothing-connect-401")
    assert explain(caught.value, "nobody/nothing-connect-401")[0] == "network"


LACKING = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory, of which 401.00 MiB is free"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("[alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    SafetensorError("I/O error: Cannot allocate memory (os error 12)"),
]


@pytest.mark.parametrize("lack", LACKING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("reader", ["AutoModelForCausalLM", "PeftModel"])
def test_lack_of_memory_keeps_its_advice(tmp_path, monkeypatch, lack, reader):
    base = tiny.llama(tmp_path / "base")
    adapter = tiny.adapter(base, tmp_path / "adapter")

    def full(*_, **__):
        raise lack

    monkeypatch.setattr(getattr(load, reader), "from_pretrained", full)
    with pytest.raises((MemoryError, ValueError)) as caught:
        load.load(str(base), adapter=adapter)
    reason, message = explain(caught.value)
    assert reason == "out-of-memory" and "--batch-size" in message


def test_adapter_of_a_smaller_model_is_refused_and_not_put_on_in_part(tmp_path):
    base = load.load(str(tiny.llama(tmp_path / "base")))
    load.with_new_adapter(base, 4).model.save_pretrained(tmp_path / "adapter")
    other = tiny.llama(tmp_path / "other", num_hidden_layers=3)
    with pytest.raises(ValueError, match="made for another model than .*other; fine-tune again") as caught:
        load.load(str(other), adapter=tmp_path / "adapter")
    assert explain(caught.value) == ("bad-config", str(caught.value))
    assert load.load(base.source, adapter=tmp_path / "adapter").model.peft_config


@pytest.mark.parametrize("in_hardware", [True, False])
def test_bf16_that_a_gpu_only_emulates_is_not_trained_in(monkeypatch, in_hardware):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: in_hardware or including_emulation
    )
    assert load.has_bf16(torch.device("cuda")) is in_hardware
