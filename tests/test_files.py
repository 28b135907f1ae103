"""Files: written whole or not at all, as strict JSON; an error of the operating system is a sentence."""

import errno
import json
import os

import pytest

from llmft_core import files


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


def test_json_holds_no_nan_and_plain_numbers():
    import numpy as np

    made = files.to_json({"a": float("nan"), "b": [np.float64(0.5), np.inf], "c": np.arange(2), 3: None})
    assert json.loads(made) == {"a": None, "b": [0.5, None], "c": [0, 1], "3": None}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full, so /a/b could not be written: free some space"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EROFS, "No permission to read or write /a/b: choose another folder"),
        (errno.EACCES, "--runs-dir"),
        (errno.ENOENT, "There is no file /a/b"),
        (errno.ENOTDIR, "/a/b is a file where a folder is needed"),
        (errno.EIO, "/a/b could not be read or written"),
    ],
)
def test_an_error_of_the_system_is_one_sentence_with_the_place(number, words):
    said = files.sentence(OSError(number, os.strerror(number), "/a/b"))
    assert words in said and said.endswith(".") and "Errno" not in said


def test_a_huge_or_binary_file_is_not_parsed(tmp_path):
    path = tmp_path / "a.json"
    for content, reason in ((b"[1]" * 50, "larger"), (b"\xff\xfe\x00", "not text"), (b"{", "not JSON")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            files.read_json(path, largest=100)


def test_a_lock_that_is_not_there_is_not_made(tmp_path):
    assert not files.is_locked(tmp_path / "lock") and not any(tmp_path.iterdir())


def test_a_long_reason_is_cut_after_a_word():
    assert files.shorten("one two three", 13) == "one two three"
    assert files.shorten("one two three", 12) == "one two…"
