"""Files on disk: where what ships lies; written whole or not at all, read with a limit; locks; errors in words."""

import errno
import json
import os
import re
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PACKAGE = Path(__file__).resolve().parent
# The models and runs that ship: inside the package where it was installed, beside it in a clone.
SHIPPED = _PACKAGE / "_precomputed" if (_PACKAGE / "_precomputed").is_dir() else _PACKAGE.parent / "precomputed"
LARGEST_JSON = 20_000_000  # bytes: more than any run writes, less than hurts


def write_text(path: Path, text: str) -> None:
    """Write the file whole: a reader sees the old one or the new one. Raises OSError and leaves nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Like `write_text`, indented, with null for numbers that are not finite."""
    write_text(path, to_json(value, indent=2) + "\n")


def to_json(value: object, indent: int | None = None) -> str:
    """Strict JSON: NaN and infinities become null, numpy numbers and arrays become plain ones."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy, without importing it
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return str(value) if isinstance(value, Path) else value


def read_json(path: Path, largest: int = LARGEST_JSON) -> object:
    """The parsed file. Raises FileNotFoundError, OSError, or ValueError with a short reason."""
    if path.stat().st_size > largest:
        raise ValueError(f"larger than {largest:,} bytes")
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not text") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def is_locked(path: Path) -> bool:
    """Whether another process (or another FileLock of this one) holds the lock; creates nothing, keeps nobody out.

    A shared lock is asked for, so two readers never see each other; a lock file on a read-only disk can be read too.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl is None:
            return _is_taken(path)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError as error:  # a file system without flock: filelock has fallen back to marker files
        return error.errno == errno.ENOSYS and _is_taken(path)
    finally:
        os.close(descriptor)


def _is_taken(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def is_disk_full(error: BaseException) -> bool:
    """Whether the error says that no space or quota is left, whichever library says it."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return bool(
        re.search(r"no space left on device|os error 28|disk quota exceeded|disk is full", str(error), re.IGNORECASE)
    )


def sentence(error: OSError) -> str:
    """An error of the operating system as one sentence that says what to do."""
    where = f" {error.filename}" if error.filename else ""
    if is_disk_full(error):
        return f"The disk is full, so {where.strip() or 'a file'} could not be written: free some space and try again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to read or write{where or ' there'}: choose another folder (--runs-dir, LLMFT_RUNS_DIR)."
    if isinstance(error, FileNotFoundError):
        return f"There is no file{where}: check the path."
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{where.strip() or 'The path'} is a file where a folder is needed: choose another folder."
    return f"{where.strip() or 'The file'} could not be read or written: {error.strerror or last_line(error)}."


def last_line(error: BaseException) -> str:
    """The last line that the error says, or its type; at most 300 characters, no token in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(hide_token(lines[-1] if lines else type(error).__name__), 300)


def shorten(text: str, most: int) -> str:
    """The text, cut after a word if it has more characters than that."""
    return text if len(text) <= most else text[: most - 1].rsplit(None, 1)[0] + "…"


def hide_token(text: str) -> str:
    """The text without the value of any Hub token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name):
            text = text.replace(token, f"<{name}>")
    return re.sub(r"\bhf_[A-Za-z0-9]{20,}", "<HF_TOKEN>", text)
