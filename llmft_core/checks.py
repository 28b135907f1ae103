"""What can be known to be wrong before a run is made: settings, task, model, data. Every complaint is a ValueError."""

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from llmft_core import config, files, models
from llmft_core.config import RunConfig
from llmft_core.models import Model
from llmft_core.run import Run

FEW = 2000  # rows: so many are split on trial, in a moment; more are never too few
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
HUB_SECONDS = 1.0  # to answer at all: with the start of Python, "no network" is said within two


def prepare(**settings) -> RunConfig:
    """Settings as people give them -> a resolved config in which names are the official ones and paths are absolute.

    Looks at every file and, for a model that is not on this machine, asks the Hub. Raises ValueError, one sentence.
    """
    row = model(settings.get("model") or RunConfig.model_fields["model"].default)
    name = row.source if row.is_shipped and row not in models.MODELS else row.key
    from llmft_core import rows, tasks  # pulls pandas in: a second, and the model's trouble is told before

    task = tasks.find(settings.get("task") or RunConfig.model_fields["task"].default)
    chosen = config.make(**{**settings, **absolute(settings), "task": task.name, "model": name})
    if chosen.data_file and chosen.split == "official":
        rows.refuse_unreadable(Path(chosen.data_file))
        raise ValueError(
            f"{Path(chosen.data_file).name} is one file, without a test part: add --split 80-20 or --split grouped."
        )
    data(task, chosen)
    return chosen


def port(number: int | None) -> None:
    """Raises ValueError for a number that no port has."""
    if number is not None and not 1 <= number <= 65535:
        raise ValueError(f"--port {number}: give a port from 1 to 65535.")


def absolute(settings: dict) -> dict[str, str | None]:
    """data_dir (or LLMFT_DATA_DIR) and data_file as absolute paths: the child may run elsewhere."""
    found = {key: settings.get(key) for key in ("data_dir", "data_file")}
    if not any(found.values()):
        found["data_dir"] = os.environ.get("LLMFT_DATA_DIR") or None
    return {key: str(Path(value).expanduser().resolve()) if value else None for key, value in found.items()}


def data(task, config: RunConfig, parts: tuple[int, ...] = (0, 1)) -> None:
    """Read the files that the run would read. Raises ValueError for one that is missing, damaged or wrong in a row."""
    from llmft_core import rows

    if config.data_file:
        paths = [Path(config.data_file)]
    elif folder := rows.folder(config.data_dir):
        wanted = parts if config.split == "official" else (0,)
        paths = [rows.file_in(task, folder, task.splits[part]) for part in wanted]
    else:
        return
    for path in paths:
        examples = rows.read(task, path)
        if config.split != "official" and len(examples) <= FEW:
            _can_be_split(task, examples, config, path.name)


def _can_be_split(task, examples: list, config: RunConfig, name: str) -> None:
    from llmft_core.engine import data  # light: it loads no torch

    try:
        data.divide(task, data.with_families(examples), config.split, config.seed)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def data_note(config: RunConfig) -> str:
    """A sentence if our own samples will have to do, because no data is here and the Hub does not answer; else ""."""
    from llmft_core import rows, tasks

    if config.data_file or rows.folder(config.data_dir) or hub_answers():
        return ""
    task = tasks.find(config.task)
    if rows.downloaded(task, task.splits[1]) is not None:
        return ""
    return (
        f"The Hub cannot be reached, so {task.title} is played with rows of our own: give --data-dir for the real ones."
    )


def model(name: str) -> Model:
    """The row of a model that can be loaded. Raises ValueError if it is unknown, gated, incomplete or out of reach."""
    row = models.find(name)
    if row.is_shipped:
        _check_folder(row)
    elif not is_here(row):
        _check_on_hub(row)
    return row


def _check_folder(row: Model) -> None:
    folder = Path(row.source)
    if not (folder / "config.json").exists():
        raise ValueError(f"The model '{row.key}' is not in {folder}: clone the repository again, with its large files.")
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise ValueError(f"{folder}: its config.json is not that of a model; give a folder in Hub format.")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder}: holds no .safetensors, the only format of weights that is read; convert it first.")
    if not any((folder / name).exists() for name in TOKENIZERS):
        raise ValueError(f"{folder}: holds no tokenizer ({TOKENIZERS[0]}); copy it there from where the model is from.")
    weights(folder)


def weights(folder: Path) -> None:
    """Look at the beginning of every file of weights. Raises ValueError for one that is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    for path in sorted({*folder.glob("*.safetensors"), *_pieces(folder)}):
        try:
            safe_open(path, framework="np")
        except FileNotFoundError:
            raise ValueError(f"{folder}: {path.name} is missing; copy the whole folder again.") from None
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path} is damaged ({files.shorten(str(error).splitlines()[0], 120)}); copy or make it again."
            ) from None


def base_digest(name: str) -> str:
    """Sixteen hex digits over a model's files of weights, the same on every device; "" if they are not here."""
    row, digest = models.find(name), hashlib.sha256()
    try:
        folder = local_folder(row.source)
        single = folder / "model.safetensors"
        paths = [single] if single.exists() else sorted(_pieces(folder))
        for path in paths:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except (OSError, ValueError):  # whoever loads it says what is wrong
        return ""
    return digest.hexdigest()[:16] if paths else ""


def same_base(run: Run) -> None:
    """Raises ValueError if the run's base model has other weights by now; a run that did not note them passes."""
    try:
        noted = files.read_json(run.path / "environment.json").get("base")
    except (OSError, ValueError, AttributeError):
        return
    if noted and noted != base_digest(run.config.model):
        raise ValueError(
            f"{run.name} was fine-tuned from other weights than {run.config.model} has now: fine-tune again, or bring "
            "the earlier weights back."
        )


def local_folder(source: str) -> Path:
    """The folder that holds the model's files: itself, or the Hub's cache of a model that was loaded before."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, local_files_only=True))


def _pieces(folder: Path) -> set[Path]:
    """The files that the weights are cut into, by their index; none if they are in one."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return {folder / name for name in index["weight_map"].values()}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder}: model.safetensors.index.json cannot be read; copy the folder again.") from None


def is_here(row: Model) -> bool:
    """Whether nothing has to be downloaded (looked up by path: the library takes half a second to say the same)."""
    if row.is_shipped:
        return True
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE, "models--" + row.source.replace("/", "--"))
    return any(_is_whole(snapshot) for snapshot in folder.glob("snapshots/*"))


def _is_whole(snapshot: Path) -> bool:
    """Whether a download got to its end: settings, and every file of weights."""
    try:
        needed = _pieces(snapshot) or {snapshot / "model.safetensors"}
    except ValueError:
        return False
    return all(path.exists() for path in (snapshot / "config.json", *needed))


def _check_on_hub(row: Model) -> None:
    from huggingface_hub import constants, get_token

    page = f"{constants.ENDPOINT}/{row.source}"
    gated = f"{row.source} is gated: accept its licence at {page} and set HF_TOKEN to a token of that account."
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "there is no network to the Hub"
    absent = f"{row.source} is not on this machine and {why}: connect to download it, or use --model mini."
    if row.gated and not get_token():
        raise ValueError(gated)
    if not hub_answers():
        raise ValueError(absent)
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url  # slow, and no use without a network

    try:
        get_hf_file_metadata(hf_hub_url(row.source, "config.json"), timeout=10)
    except errors.GatedRepoError:
        raise ValueError(gated) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise ValueError(
            f"The Hub has no model '{row.source}', or it is private: check the name or set HF_TOKEN."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise ValueError(absent) from None
    except errors.EntryNotFoundError:
        raise ValueError(f"{row.source} holds no config.json, so it is not a model; check the name.") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise ValueError(f"The Hub answers {status} for {row.source}: try again later, or use --model mini.") from None
    except Exception:  # of the HTTP library, whose errors are no OSErrors: whatever it is, it is no answer
        raise ValueError(absent) from None


def hub_answers(seconds: float = HUB_SECONDS) -> bool:
    """Whether the Hub (or HF_ENDPOINT, through a proxy if one is set) answers within this time."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _in_time(lambda: _call(constants.ENDPOINT, seconds), seconds)


def _call(address: str, seconds: float) -> None:
    """Return if anybody answers, whatever they say. Raises OSError if not."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(address, method="HEAD"), timeout=seconds).close()
    except HTTPError:
        return
    except URLError as error:
        if type(error.reason).__name__ not in ("SSLError", "SSLCertVerificationError"):
            raise


def _in_time(ask: Callable[[], object], seconds: float) -> bool:
    """Whether `ask` returns in time; a thread, because no timeout of ours ends a name server that does not answer."""
    answers: queue.Queue[bool] = queue.Queue()

    def run() -> None:
        try:
            ask()
            answers.put(True)
        except Exception:  # whatever it is, it is no answer
            answers.put(False)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return False
