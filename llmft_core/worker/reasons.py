"""Any error as one sentence: which kind it is and what a person can do. A pure function, and torch is not imported."""

import re
import traceback
from collections.abc import Iterator

from llmft_core.files import hide_token, is_disk_full, last_line, sentence

PACKAGE = "llmft_core"
MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|not enough memory", re.IGNORECASE)
GATED = re.compile(
    r"gated repo|is gated|awaiting a review|access to model \S+ is restricted|\b40[13] (client|forbidden|unauth)", re.I
)
MISSING = re.compile(r"repository not found|not a valid model identifier|doesn't exist on the hub|\b404 client", re.I)
NETWORK = re.compile(
    r"couldn't connect|could not connect|connection (error|refused|reset)|name resolution|getaddrinfo|max retries"
    r"|network is unreachable|offline mode|timed out|hf_hub_offline|cannot find the requested files in the",
    re.I,
)
NETWORK_TYPES = {
    "ConnectError", "ConnectionError", "ConnectTimeout", "LocalEntryNotFoundError", "MaxRetryError",
    "OfflineModeIsEnabled", "ProxyError", "ReadTimeout", "SSLError", "TimeoutException", "URLError", "gaierror",
}  # fmt: skip
PAGE = re.compile(
    r"(?:https?://)?huggingface\.co/(?:api/models/)?((?!datasets/|api/)[\w.-]+/[\w.-]+|datasets/[\w.-]+/[\w.-]+)"
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
            message = str(error) if _is_our_sentence(error) else message
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
    return bool(_types(error) & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError | OSError) and bool(MEMORY.search(str(error)))
    )


def _is_gated(error: BaseException) -> bool:
    if "GatedRepoError" in _types(error):
        return True
    return isinstance(error, OSError) and bool(GATED.search(str(error))) and not MISSING.search(str(error))


def _is_missing(error: BaseException) -> bool:
    if _types(error) & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return True
    return isinstance(error, OSError) and bool(MISSING.search(str(error)))


def _is_network(error: BaseException) -> bool:
    if _types(error) & NETWORK_TYPES:
        return True
    return isinstance(error, OSError) and bool(NETWORK.search(str(error)))


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
