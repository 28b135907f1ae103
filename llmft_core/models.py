"""Whom we teach: one row per model."""

from dataclasses import dataclass
from pathlib import Path

from llmft_core import files

SHIPPED = files.SHIPPED / "models"


@dataclass(frozen=True)
class Model:
    """A model that people can choose by a short key."""

    key: str
    title: str
    source: str  # a Hub id, or the folder of a model that ships
    parameters: float  # in millions
    gated: bool
    what: str  # one honest sentence

    @property
    def is_shipped(self) -> bool:
        return Path(self.source).is_absolute()


MODELS = (
    Model("mini", "mini", str(SHIPPED / "mini"), 6.52, False, "Ships inside; learns quickly, knows little."),
    Model(
        "smollm2-135m-instruct", "SmolLM2 135M", "HuggingFaceTB/SmolLM2-135M-Instruct", 135, False,
        "The smallest chat model from the Hub that is worth a fine-tune on a laptop.",
    ),
    Model("llama3.2-1b", "Llama 3.2 1B", "meta-llama/Llama-3.2-1B", 1236, True, "A base model: good once tuned."),
    Model(
        "llama3.2-1b-instruct", "Llama 3.2 1B Instruct", "meta-llama/Llama-3.2-1B-Instruct", 1236, True,
        "Follows instructions before any tuning: a strong zero-shot side.",
    ),
    Model("gemma-2-2b-it", "Gemma 2 2B it", "google/gemma-2-2b-it", 2614, True, "The strongest; wants a GPU of 8 GB."),
)  # fmt: skip

LARGE = 100  # millions of parameters


def find(name: str) -> Model:
    """The row with this key, or one made for a local folder or a Hub id (`owner/name`). ValueError if unknown."""
    path = Path(name).expanduser()
    for model in MODELS:
        if name in (model.key, model.source) or (model.is_shipped and path.resolve() == Path(model.source)):
            return model
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ValueError(
                f"{name}: the folder holds no config.json, so it is not a model; give a folder in Hub format."
            )
        return Model(name, path.name, str(path.resolve()), 0, False, "A local folder.")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return Model(name, name.split("/")[1], name, 0, False, "A model from the Hub.")
    if "/" in name or name.startswith(("~", ".")):
        raise ValueError(f"{name}: no such folder; give one that holds a model, a Hub id (owner/name) or a short name.")
    keys = ", ".join(model.key for model in MODELS)
    raise ValueError(f"Unknown model '{name}'. Choose one of {keys}, a Hub id (owner/name), or a local folder.")


def is_large(name: str) -> bool:
    """Whether a model has 100 M parameters or more, as far as the name tells: all on the Hub, no local folder."""
    try:
        row = find(name)
    except (ValueError, OSError):  # the complaint about it is made elsewhere
        return False
    return not row.is_shipped and not 0 < row.parameters < LARGE
