"""What can be known to be wrong before a run is made: settings, task, model, data. Every complaint is a ValueError."""

import json
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from llmft_core import config, models
from llmft_core.config import RunConfig
from llmft_core.models import Model

HUB_SECONDS = 1.0  # to answer at all: with the start of Python, "no network" is said within two


def prepare(**settings) -> RunConfig:
    """Settings as people give them -> a resolved config in which names are the official ones and paths are absolute.

    Looks at every file and, for a model that is not on this machine, asks the Hub. Raises ValueError, one sentence.
    """
    row = model(settings.get("model") or RunConfig.model_fields["model"].default)
    name = row.source if row.is_shipped and row not in models.MODELS else row.key
    from llmft_core import tasks  # pulls pandas in: a second, and the model's trouble is told before

    task = tasks.find(settings.get("task") or RunConfig.model_fields["task"].default)
    chosen = config.make(**{**settings, **absolute(settings), "task": task.name, "model": name})
    if chosen.data_file and chosen.split == "official":
        raise ValueError(
            f"{Path(chosen.data_file).name} is one file, without a test part: add --split 80-20 or --split grouped."
        )
    data(task, chosen)
    return chosen


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
        rows.read(task, config.data_file)
    elif folder := rows.folder(config.data_dir):
        for part in parts if config.split == "official" else (0,):
            rows.read(task, rows.file_in(task, folder, task.splits[part]))


def data_note(task, config: RunConfig) -> str:
    """A sentence if our own samples will have to do, because no data is here and the Hub does not answer; else ""."""
    from llmft_core import rows

    if config.data_file or rows.folder(config.data_dir) or hub_answers():
        return ""
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
    elif not _is_downloaded(row.source):
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


def _is_downloaded(source: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(try_to_load_from_cache(source, "config.json"), str)
    except ValueError:  # not a name that the Hub could have
        return False


def _check_on_hub(row: Model) -> None:
    from huggingface_hub import constants, get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    page = f"{constants.ENDPOINT}/{row.source}"
    gated = f"{row.source} is gated: accept its licence at {page} and set HF_TOKEN to a token of that account."
    if row.gated and not get_token():
        raise ValueError(gated)
    if not hub_answers():
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "there is no network to the Hub"
        raise ValueError(f"{row.source} is not on this machine and {why}: connect to download it, or use --model mini.")
    try:
        get_hf_file_metadata(hf_hub_url(row.source, "config.json"), timeout=10)
    except GatedRepoError:
        raise ValueError(gated) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ValueError(
            f"The Hub has no model '{row.source}', or it is private: check the name or set HF_TOKEN."
        ) from None
    except (HfHubHTTPError, OSError):
        pass  # no config.json there, or a hiccup: loading it will tell


def hub_answers(seconds: float = HUB_SECONDS) -> bool:
    """Whether the Hub (or HF_ENDPOINT, through a proxy if one is set) answers within this time."""
    import httpx
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _in_time(lambda: httpx.head(constants.ENDPOINT, timeout=seconds), seconds)


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
