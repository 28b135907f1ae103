"""The house: which room may know which, what every file must say first, and that the README's map is true."""

import ast
import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
PACKAGE = HOUSE / "llmft_core"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 300

# library -> the rooms (first part of the path inside llmft_core) that may import it, at the top or inside a function
LIBRARIES = {
    "gradio": {"ui"},
    "plotly": {"charts"},
    "torch": {"engine", "worker", "bench"},
    "transformers": {"engine", "worker", "bench"},
    "peft": {"engine", "worker", "bench"},
    "datasets": {"engine", "worker", "evaluate_metrics", "bench"},
    "evaluate": {"evaluate_metrics"},
    "subprocess": {"jobs"},
    "lm_eval": {"bench"},
    "trl": {"bench"},
}
# room -> rooms of ours that it must never import
FORBIDDEN = {
    "ui": {"worker", "engine"},
    "cli": {"worker", "engine", "ui"},
    "engine": {"ui", "charts", "runs", "run", "jobs", "worker", "frames", "cli", "bench"},
    "charts": {
        "ui",
        "runs",
        "run",
        "jobs",
        "worker",
        "engine",
        "frames",
        "tasks",
        "metrics",
        "cli",
        "config",
        "models",
    },
    "tasks": {"ui", "charts", "runs", "run", "jobs", "worker", "engine", "frames", "cli", "config"},
    "metrics": {"ui", "charts", "runs", "run", "jobs", "worker", "engine", "frames", "tasks", "cli", "config"},
    "worker": {"ui", "charts", "cli", "frames"},
    "bench": {"ui", "charts", "cli"},
    "frames": {"ui", "charts", "worker", "engine", "cli", "jobs"},
    "runs": {"ui", "charts", "worker", "engine", "cli", "jobs", "frames"},
    "jobs": {"ui", "charts", "worker", "engine", "cli", "frames"},
}
# the one import that a wall lets through: the `app` command opens the app
DOORS = {("cli", "ui")}


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "cli" if first.startswith("cli") or first == "__main__" else first


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_keeps_within_its_walls(path):
    here = room(path)
    for name in imports(path):
        library = name.split(".")[0]
        assert here in LIBRARIES.get(library, {here}), f"{library} may be imported in {LIBRARIES[library]} only"
        if library == "llmft_core" and "." in name:
            other = name.split(".")[1]
            allowed = other not in FORBIDDEN.get(here, set()) or (here, other) in DOORS
            assert allowed, f"{here} must not know {other}"


@pytest.mark.parametrize("path", FILES + sorted((HOUSE / "tests").glob("*.py")), ids=lambda path: path.name)
def test_file_says_what_it_is_and_stays_small(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "the first line says what the file is"
    assert text.startswith('"""')
    assert len(text.splitlines()) <= LONGEST_FILE


def test_readme_map_names_every_room_and_nothing_else():
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    house = readme.split("## The house")[1].split("```")[1]
    named = set(re.findall(r"^  (\w+)(?:/|\.py)", house, flags=re.M))
    real = {room for room in (path.name.removesuffix(".py") for path in PACKAGE.iterdir()) if not room.startswith("__")}
    assert named == real


def test_imports_are_absolute():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"


def test_no_file_is_too_large_for_a_space():
    for path in HOUSE.rglob("*"):
        inside = path.relative_to(HOUSE).parts
        if path.is_file() and inside[0] not in (".git", "runs", ".venv", "venv"):
            assert path.stat().st_size < 10_000_000, f"{path}: over 10 MB"
