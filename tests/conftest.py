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
for name in ("HF_TOKEN", "LLMFT_RECIPE", "LLMFT_RESUME", "LLMFT_DEBUG", "SPACE_ID"):
    os.environ.pop(name, None)
DATA = Path(os.environ.get("LLMFT_DATA_DIR") or HOUSE.parent / "shared" / "data")


@pytest.fixture(autouse=True)
def runs_dir(tmp_path, monkeypatch) -> Path:
    """An empty folder for the runs of this test; no data but what it asks for."""
    monkeypatch.delenv("LLMFT_DATA_DIR", raising=False)
    monkeypatch.setenv("LLMFT_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with sst2/ and squad_v2/: $LLMFT_DATA_DIR, or shared/data beside the repository."""
    if not (DATA / "sst2" / "validation.parquet").exists():
        reason = f"NO DATA in {DATA}: set LLMFT_DATA_DIR to a folder with sst2/ and squad_v2/ to run this test"
        warnings.warn(reason, stacklevel=1)  # told at the end of every session, not only with -rs
        pytest.skip(reason)
    return DATA
