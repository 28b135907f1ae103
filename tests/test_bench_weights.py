"""The bench `weights`: its two sides give the same figures, and what it makes for them goes away again."""

import json

import pytest
import tiny

from llmft_core.bench import checkpoint_pair, weights, weights_sides
from llmft_core.cli import main, printing
from llmft_core.engine import weights as engine


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    base = tiny.llama(folder / "base")
    checkpoint_pair.make({"base": str(base), "folder": str(folder)})
    return {"base": str(base)} | {name: str(folder / name) for name in ("tuned", "adapter")}


def test_both_sides_give_the_same_figures_for_every_tensor(folders):
    (_, n, ours, about), (_, others, theirs, _) = weights_sides.ours(folders), weights_sides.theirs(folders)
    assert n == others == len(ours) and about["parameters"] > 0
    assert weights.agreement(ours, theirs) == 1.0
    moved = {name for name, row in ours.items() if row["change_norm"] > 0}
    assert moved and all(name.startswith("model.layers.1.") for name in moved), "the upper half of two layers"


def test_a_figure_that_differs_or_is_missing_counts_against_its_tensor():
    row = {"change_norm": 1.0, "stable_rank": None}
    assert weights.agreement({"a": row, "b": row}, {"a": row, "b": row | {"change_norm": 1.01}}) == 0.5
    assert weights.agreement({"a": row}, {"a": row | {"stable_rank": 2.0}}) == 0
    assert weights.agreement({"a": row}, {"a": row, "b": row}) == 0.5
    spectra = row | {"spectral_norm": 1.0}
    assert weights.agreement({"a": spectra}, {"a": spectra | {"spectral_norm": 1.04}}) == 1, "both sides estimate it"


def test_the_adapter_touches_every_matrix_of_the_layers(folders):
    from pathlib import Path

    rows = engine.lora_changes(Path(folders["base"]), Path(folders["adapter"]))
    assert len(rows) == 2 * 7 and (rows["change_norm"] > 0).all()


def test_bench_says_how_ours_compares_with_reading_and_leaves_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    model = tiny.llama(tmp_path / "model")
    assert main(["bench", "weights", "--model", str(model), "--rounds", "1", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["agreement"] == 1.0 and report["over_reading"] > 0 and report["lora"]["n"] == 2 * 7
    assert list((tmp_path / "llmft-pairs").iterdir()) == []
    disk = report["from_disk"]
    assert disk["n"] == report["ours"]["n"] and disk["over_reading"] == pytest.approx(
        disk["seconds"] / disk["read_seconds"], abs=0.01
    )
    printing.table(*weights.table(report))
    said = capfd.readouterr().out
    assert "ours, the adapter" in said and "from the disk" in said


def test_a_system_that_cannot_drop_files_from_its_cache_is_not_asked(tmp_path, monkeypatch, capfd):
    monkeypatch.delattr(weights.os, "posix_fadvise")
    model = tiny.llama(tmp_path / "model")
    assert main(["bench", "weights", "--model", str(model), "--rounds", "1", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["from_disk"] is None
    printing.table(*weights.table(report))
    assert "from the disk" not in capfd.readouterr().out


def test_no_room_is_said_before_anything_is_written(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_pair.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(ValueError, match="TMPDIR"):
        checkpoint_pair.make({"base": folders["base"], "folder": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
