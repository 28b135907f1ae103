"""Reasons: every error that ends a run becomes one of seven reasons and one sentence that says what to do."""

import errno
import json
import os
import socket

import httpx
import pytest
import torch
from huggingface_hub import errors
from safetensors import SafetensorError

from llmft_core.config import make
from llmft_core.worker.reasons import explain


def named(name, base=Exception, module="elsewhere"):
    return type(name, (base,), {"__module__": module})


def hub(kind, said, status=None, inside="meta-llama/Llama-3.2-1B"):
    """An error of huggingface_hub, as transformers passes it on: as the cause of an OSError with words of its own."""
    if status:
        request = httpx.Request("HEAD", f"https://huggingface.co/{inside}/resolve/main/config.json")
        error = kind(said, response=httpx.Response(status, request=request))
    else:
        error = kind(said)
    wrapper = OSError("See https://huggingface.co/docs/transformers/installation for what may be wrong.")
    wrapper.__cause__ = error
    return wrapper


def thrown(error, cause=None):
    """The error as an except clause meets it, raised outside of our package."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


PAGE = "https://huggingface.co/meta-llama/Llama-3.2-1B"
CASES = [
    (MemoryError(), "out-of-memory", "--batch-size"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory", "--max-length"),
    (torch.AcceleratorError("CUDA error: out of memory"), "out-of-memory", "smaller"),
    (torch.AcceleratorError("CUDA error: device-side assert triggered"), "other", "device-side assert"),
    (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), "out-of-memory", "smaller"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "out-of-memory", "smaller"),
    (RuntimeError("[alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), "out-of-memory", "smaller"),
    (SafetensorError("I/O error: Cannot allocate memory (os error 12)"), "out-of-memory", "smaller"),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out-of-memory", "smaller"),
    (FileNotFoundError(errno.ENOENT, "No such file", "/runs/out of memory/x"), "other", "No such file"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/r/adapter"), "disk-full", "/runs/r/adapter"),
    (SafetensorError("I/O error: No space left on device (os error 28)"), "disk-full", "free some space"),
    (hub(errors.GatedRepoError, "Access is restricted", 403), "gated", f"at {PAGE} "),
    (hub(errors.HfHubHTTPError, "Invalid credentials", 401), "gated", PAGE),
    (hub(errors.RepositoryNotFoundError, "401 Client Error", 401, "no/such"), "bad-config", "'no/such'"),
    (hub(errors.RepositoryNotFoundError, "404 Client Error", 404, "docs/x"), "bad-config", "'owner/model'"),
    (hub(errors.LocalEntryNotFoundError, "we cannot find the requested files"), "network", "Hub"),
    (hub(errors.OfflineModeIsEnabled, "Cannot reach x"), "network", "Hub"),
    (OSError("the model of a folder called 401 client, offline mode"), "other", "401 client"),
    (ConnectionError("Connection refused"), "network", "--data-dir"),
    (FileNotFoundError("No 'a/b' on the Hugging Face Hub either: LocalEntryNotFoundError: x"), "network", "Hub"),
    (socket.gaierror(-2, "Name or service not known"), "network", "mini"),
    (httpx.ConnectTimeout("timed out"), "network", "Hub"),
    (ValueError("operands could not be broadcast together"), "other", "ValueError: operands"),
    (KeyError("weight"), "other", "'weight' (see log.txt)"),
    (AssertionError(), "other", "AssertionError"),
]


@pytest.mark.parametrize(("error", "reason", "words"), CASES, ids=lambda value: str(value)[:40])
def test_an_error_has_a_reason_and_a_sentence(error, reason, words):
    found, message = explain(thrown(error, error.__cause__), "owner/model")
    assert found == reason and words in message
    assert "\n" not in message and message.endswith(".")


def test_the_cause_is_found_behind_the_error_of_a_library():
    wrapper = thrown(OSError("Can't load the configuration"), cause=hub(errors.GatedRepoError, "no", 403))
    assert explain(wrapper)[0] == "gated"
    assert explain(thrown(RuntimeError("worker died"), cause=MemoryError()))[0] == "out-of-memory"


def test_an_error_that_was_dealt_with_does_not_count():
    try:
        try:
            raise ConnectionError("refused")
        except ConnectionError:
            raise KeyError("config") from None
    except KeyError as error:
        assert explain(error)[0] == "other"


def test_our_own_sentence_is_kept():
    try:
        make(epochs=-1)
    except ValueError as error:
        assert explain(error) == ("bad-config", str(error))


def test_a_bad_row_is_bad_data(tmp_path):
    from llmft_core import rows, tasks

    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"idx": 1, "sentence": "fine", "label": 9}]))
    try:
        rows.read(tasks.find("sst2"), path)
    except ValueError as error:
        reason, message = explain(error)
        assert reason == "bad-data" and message.startswith("rows.json, row 1, column label")


def test_a_token_in_an_error_is_not_passed_on(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "very-secret")
    for error in (RuntimeError("bad token very-secret"), ValueError("hf_" + "x" * 34)):
        message = explain(thrown(error))[1]
        assert "very-secret" not in message and "hf_xxx" not in message and "<HF_TOKEN>" in message
