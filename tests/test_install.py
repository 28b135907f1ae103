"""An installed llmft is whole: the wheel is built without a network, looked into, and used from another folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
WHERE = {"llmft_core": "llmft_core", "precomputed": "llmft_core/_precomputed"}  # in a clone, in the wheel
NOT_OURS = shutil.ignore_patterns("__pycache__", ".*")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What a wheel is made of; a copy, because building leaves things behind."""
    folder = tmp_path_factory.mktemp("clone")
    for name in WHERE:
        shutil.copytree(HOUSE / name, folder / name, ignore=NOT_OURS)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(HOUSE / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        "pip",
        "wheel",
        str(clone),
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(folder),
    ]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("llmft-*.whl")
    return zipfile.ZipFile(made)


@pytest.fixture
def installed(wheel, tmp_path) -> Path:
    """A folder to import from, in which there is nothing but the wheel."""
    wheel.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_the_wheel_holds_the_rooms_what_ships_and_nothing_else(wheel, clone):
    wanted = {
        f"{there}/{path.relative_to(clone / here).as_posix()}"
        for here, there in WHERE.items()
        for path in (clone / here).rglob("*")
        if path.is_file() and not path.match("*.egg-info/*")
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == wanted, "pyproject.toml names every room"
    for ending in (".py", ".css", ".json", ".jinja", ".safetensors", ".parquet"):
        assert any(name.endswith(ending) for name in wanted), f"nothing ends in {ending}: this test looks at too little"


def test_an_installed_llmft_knows_what_ships_from_any_folder(installed, tmp_path):
    def say(*command):
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    shipped = {path.name for path in (HOUSE / "precomputed" / "runs").iterdir()}
    found = {run["name"]: run for run in json.loads(say("-m", "llmft_core", "runs", "--json"))}
    assert set(found) == shipped and all(run["shipped"] and run["headline"] for run in found.values())
    assert "mini" in say("-m", "llmft_core", "models")
    code = "from llmft_core import checks; print(checks.model('mini').source)"
    source = Path(say("-c", code).strip())
    assert source.is_relative_to(installed) and (source / "chat_template.jinja").exists()
