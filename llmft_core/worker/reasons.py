"""Any error as one sentence: which kind it is and what a person can do. A pure function, and torch is not imported."""

import errno
import re
import traceback
from collections.abc import Iterator

from llmft_core.files import hide_token, is_disk_full, last_line, sentence

PACKAGE = "llmft_core"
MEMORY_TYPES = {"MemoryError", "OutOfMemoryError"}
MISSING_TYPES = {"RepositoryNotFoundError", "DatasetNotFoundError"}
NETWORK_TYPES = {
    "ConnectError", "ConnectionError", "ConnectTimeout", "LocalEntryNotFoundError", "MaxRetryError",
    "OfflineModeIsEnabled", "ProxyError", "ReadTimeout", "SSLError", "TimeoutException", "URLError", "gaierror",
}  # fmt: skip
# Words, only for what has no type of its own. Memory: torch's allocators on CPU and Apple, a driver's own error
# (AcceleratorError), cuBLAS, and safetensors. Network: datasets, which drops the error that its own comes from.
MEMORY_WORDS = re.compile(r"out of memory|can(?:'|no)t allocate memory|not enough memory|_ALLOC_FAILED", re.IGNORECASE)
NETWORK_WORDS = re.compile(r"on the hugging face hub either: localentrynotfounderror", re.IGNORECASE)
PAGE = re.compile(
    r"(?:https?://)?huggingface\.co/(?:api/models/)?((?!datasets/|api/|docs/)[\w.-]+/[\w.-]+|datasets/[\w.-]+/[\w.-]+)"
)


def explain(error: BaseException, model: str = "") -> tuple[str, str]:
    """(reason, message) of a Failed event; `model` is named where the error does not say which repository it is about.

    The reason is one of out-of-memory, gated, network, disk-full, bad-data, bad-config, other. A ValueError that our
    own code raised keeps its sentence.
    """
    chain = list(_chain(error))
    for test, answer in _ANSWERS:
        if found := next((each for each in chain if test(each)), None):
            reason, message = answer(found, chain, model)
            if _is_our_sentence(error) and reason != "out-of-memory":  # "… could not be loaded" gives no advice on it
                message = str(error)
            return reason, hide_token(" ".join(message.split()))
    return "other", f"{type(error).__name__}: {last_line(error).rstrip('.')} (see log.txt)."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the wrapper first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _types(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_out_of_memory(error: BaseException) -> bool:
    if _types(error) & MEMORY_TYPES or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return bool(_types(error) & {"RuntimeError", "SafetensorError"}) and bool(MEMORY_WORDS.search(str(error)))


def _is_gated(error: BaseException) -> bool:
    kinds = _types(error)
    if "GatedRepoError" in kinds:
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    return "HfHubHTTPError" in kinds and not kinds & MISSING_TYPES and status in (401, 403)  # 401 also: not there


def _is_missing(error: BaseException) -> bool:
    return bool(_types(error) & MISSING_TYPES)


def _is_network(error: BaseException) -> bool:
    if _types(error) & NETWORK_TYPES:
        return True
    return isinstance(error, FileNotFoundError) and bool(NETWORK_WORDS.search(str(error)))


def _is_our_sentence(error: BaseException) -> bool:
    """A ValueError that our own code raised: it is written for people. One from inside a library is not."""
    return isinstance(error, ValueError) and _room(error) is not None


def _room(error: BaseException) -> str | None:
    """The module of ours that raised the error, None if it was a library."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return PACKAGE  # made, not raised: a sentence passed on
    name = frames[-1][0].f_globals.get("__name__", "")
    return name if name.partition(".")[0] == PACKAGE else None


def _about_memory(error, chain, model):
    return "out-of-memory", "The memory was not enough: lower --batch-size or --max-length, or choose a smaller model."


def _about_gate(error, chain, model):
    page = _page(chain) or model
    link = f"https://huggingface.co/{page}" if "/" in page else "its page on the Hub"
    return (
        "gated",
        f"{page or 'The model'} is gated: accept its licence at {link} and set HF_TOKEN to a token of yours.",
    )


def _about_missing(error, chain, model):
    page = _page(chain) or model
    return (
        "bad-config",
        f"The Hub has no '{page}', or it is private: check the name, or set HF_TOKEN to a token of yours.",
    )


def _page(chain) -> str:
    """The repository that the errors are about, "" if none of them says."""
    texts = (f"{getattr(getattr(each, 'response', None), 'url', '')} {each}" for each in chain)
    return next((match[1].rstrip(".") for text in texts if (match := PAGE.search(text))), "")


def _about_network(error, chain, model):
    return (
        "network",
        "The Hub cannot be reached: connect and try again, or use --model mini and --data-dir, which need no network.",
    )


def _about_disk(error, chain, model):
    return "disk-full", sentence(error) if isinstance(
        error, OSError
    ) else "The disk is full: free some space and resume the run."


def _our_sentence(error, chain, model):
    room = _room(error) or ""
    is_data = room.endswith((".rows", ".data", ".overlap")) or ".tasks" in room
    return "bad-data" if is_data else "bad-config", str(error)


_ANSWERS = (
    (_is_out_of_memory, _about_memory),
    (is_disk_full, _about_disk),
    (_is_gated, _about_gate),
    (_is_missing, _about_missing),
    (_is_network, _about_network),
    (_is_our_sentence, _our_sentence),
)
