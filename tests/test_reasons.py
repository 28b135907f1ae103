"""Reasons: every error that ends a run becomes one of seven reasons and one sentence that says what to do."""

import errno
import json
import os
import socket

import pytest

from llmft_core.config import make
from llmft_core.worker.reasons import explain


def named(name, base=Exception, module="huggingface_hub.errors"):
    return type(name, (base,), {"__module__": module})


def thrown(error, cause=None):
    """The error as an except clause meets it, raised outside of our package."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


GATED = named("GatedRepoError", named("RepositoryNotFoundError", OSError))
PAGE = "https://huggingface.co/meta-llama/Llama-3.2-1B"
OUT = named("OutOfMemoryError", RuntimeError, "torch")
NOWHERE = named("RepositoryNotFoundError", OSError)
CASES = [
    (MemoryError(), "out-of-memory", "--batch-size"),
    (OUT("CUDA out of memory. Tried to allocate 2 GiB"), "out-of-memory", "--max-length"),
    (RuntimeError("[alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out-of-memory", "smaller"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/r/adapter"), "disk-full", "/runs/r/adapter"),
    (named("SafetensorError")("I/O error: No space left on device (os error 28)"), "disk-full", "free some space"),
    (
        GATED(f"401 Client Error. Cannot access gated repo for url {PAGE}/resolve/main/config.json."),
        "gated",
        f"at {PAGE} ",
    ),
    (
        OSError(f"You are trying to access a gated repo.\nMake sure to have access at {PAGE}.\n403 Client Error."),
        "gated",
        PAGE,
    ),
    (NOWHERE("404 Client Error for https://huggingface.co/no/such"), "bad-config", "'no/such'"),
    (
        OSError("no/such is not a local folder and is not a valid model identifier listed on X"),
        "bad-config",
        "owner/model",
    ),
    (OSError("We couldn't connect to 'https://huggingface.co' to load the files"), "network", "Hub"),
    (ConnectionError("Connection refused"), "network", "--data-dir"),
    (socket.gaierror(-2, "Name or service not known"), "network", "mini"),
    (named("ConnectTimeout", module="httpx")("timed out"), "network", "Hub"),
    (named("OfflineModeIsEnabled")("Cannot reach x: offline mode is enabled."), "network", "Hub"),
    (ValueError("operands could not be broadcast together"), "other", "ValueError: operands"),
    (KeyError("weight"), "other", "'weight' (see log.txt)"),
    (AssertionError(), "other", "AssertionError"),
]


@pytest.mark.parametrize(("error", "reason", "words"), CASES, ids=lambda value: str(value)[:40])
def test_an_error_has_a_reason_and_a_sentence(error, reason, words):
    found, message = explain(thrown(error), "owner/model")
    assert found == reason and words in message
    assert "\n" not in message and message.endswith(".")


def test_the_cause_is_found_behind_the_error_of_a_library():
    wrapper = thrown(OSError("Can't load the configuration"), cause=GATED(f"Cannot access gated repo {PAGE}"))
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
