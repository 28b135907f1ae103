"""Every test keeps its runs to itself and stays off the network; the data of the tasks, where it is there."""

import os
import sys
import warnings
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOUSE))
os.environ.update(
    HF_HUB_OFFLINE="1",  # read when huggingface_hub is imported, so not in a fixture
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_WAIT_POLICY="PASSIVE",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads wait for each other longer than a tiny model takes
for name in ("HF_TOKEN", "LLMFT_RECIPE", "LLMFT_RESUME", "LLMFT_DEBUG", "SPACE_ID"):
    os.environ.pop(name, None)
DATA = Path(os.environ.get("LLMFT_DATA_DIR") or HOUSE.parent / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def no_data_dir():
    """No data but what a test asks for; before the first run that a whole file shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LLMFT_DATA_DIR", raising=False)
        yield


@pytest.fixture(autouse=True)
def runs_dir(tmp_path, monkeypatch) -> Path:
    """An empty folder for the runs of this test."""
    monkeypatch.setenv("LLMFT_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def toy(monkeypatch, runs_dir):
    """Workers run `toy_recipe`; whatever a test leaves running is ended."""
    from patience import PATIENCE

    from llmft_core import jobs, runs

    monkeypatch.setenv("LLMFT_RECIPE", "toy_recipe")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(HOUSE / "tests"), str(HOUSE))))
    monkeypatch.setattr(jobs, "START_SECONDS", PATIENCE)
    yield
    for run in runs.all():
        if not run.shipped and run.is_held():
            jobs.stop(run, 0, 0.2)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with sst2/ and squad_v2/: $LLMFT_DATA_DIR, or shared/data beside the repository."""
    if not (DATA / "sst2" / "validation.parquet").exists():
        reason = f"NO DATA in {DATA}: set LLMFT_DATA_DIR to a folder with sst2/ and squad_v2/ to run this test"
        warnings.warn(reason, stacklevel=1)  # told at the end of every session, not only with -rs
        pytest.skip(reason)
    return DATA


# What several files use; the libraries are imported where they are needed, for most tests need none of them.


@pytest.fixture
def sentences(tmp_path) -> Path:
    """A data folder with our own sentences as SST-2."""
    import pandas as pd

    from llmft_core import tasks

    task, folder = tasks.find("sst2"), tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    for part, own in zip(task.splits, task.samples(), strict=True):
        pd.DataFrame(own).to_parquet(folder / f"{part}.parquet")
    return tmp_path / "data"


@pytest.fixture
def sst2(runs_dir):
    """A finished run of SST-2 as the page's choice."""
    return _choice("sst2", runs_dir / "sst2-one", 60)


@pytest.fixture
def squad(runs_dir):
    """A finished run of SQuAD v2 as the page's choice."""
    return _choice("squad_v2", runs_dir / "squad-one", 400)


def _choice(task: str, folder: Path, n: int):
    import fakes

    from llmft_core import runs
    from llmft_core.ui.choice import Choice

    return Choice(task, "mini", runs.Run(fakes.write_run(folder, task, n)))


@pytest.fixture
def laid_out():
    """Build a tab inside a page of its own."""
    import gradio as gr

    def build(tab):
        with gr.Blocks():
            tab.layout()
        return tab

    return build


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def pair(request, tmp_path_factory):
    """A tiny model, an adapter for it, and the model with the adapter merged in."""
    from weight_folders import trio

    return trio(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def llama(tmp_path) -> Path:
    """A tiny random Llama."""
    import tiny

    return tiny.llama(tmp_path / "llama")


@pytest.fixture(scope="session")
def browser():
    """One Chromium for the pages of all tests."""
    from browser import chromium

    with chromium() as opened:
        yield opened
