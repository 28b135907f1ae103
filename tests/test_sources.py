"""Sources: where rows come from, in which order, and what happens without a network."""

import threading

import pandas as pd
import pyarrow as pa
import pytest
from huggingface_hub import constants

from llmft_core import checks, rows, tasks
from llmft_core.engine import data

SST2, SQUAD = tasks.find("sst2"), tasks.find("squad_v2")
THREE = {"idx": [1, 2, 3], "sentence": ["A fine day", "A grey day", "A day"], "label": [1, 0, 1]}


def ids(examples):
    return [example.id for example in examples]


# ---- sources and splits --------------------


def test_a_data_folder_that_is_not_there_or_lacks_the_task_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no such data folder"):
        data.load(SST2, data_dir=tmp_path / "gone")
    with pytest.raises(ValueError, match="holds no sst2/train.parquet"):
        data.load(SST2, data_dir=tmp_path)
    monkeypatch.setenv("LLMFT_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="holds no sst2/train.parquet"):
        data.load(SST2)


def test_the_environment_names_the_data_folder(sentences, monkeypatch):
    monkeypatch.setenv("LLMFT_DATA_DIR", str(sentences))
    assert data.load(SST2).source == "data-dir"


def test_a_file_goes_before_a_folder(sentences, tmp_path):
    path = tmp_path / "own.csv"
    pd.DataFrame(THREE).to_csv(path, index=False)
    found = data.load_test(SST2, data_dir=sentences, data_file=path)
    assert (len(found.test), found.source, found.train) == (3, "data-file", [])


def test_one_file_has_no_official_test_part(tmp_path):
    path = tmp_path / "own.csv"
    pd.DataFrame(SST2.samples()[0]).to_csv(path, index=False)
    with pytest.raises(ValueError, match="own.csv is one file.*--split 80-20 or --split grouped"):
        data.load(SST2, data_file=path)
    for split in ("80-20", "grouped"):
        found = data.load(SST2, split, data_file=path)
        assert len(found.train) + len(found.test) == len(SST2.samples()[0])
        assert not set(ids(found.train)) & set(ids(found.test))


@pytest.mark.parametrize("split", ["80-20", "grouped"])
def test_too_few_rows_to_split_get_one_sentence(tmp_path, split):
    path = tmp_path / "own.csv"
    pd.DataFrame(THREE).head(1).to_csv(path, index=False)
    with pytest.raises(ValueError, match="1 rows are too few"):
        data.load(SST2, split, data_file=path)


def test_an_unknown_split_names_the_choices(sentences):
    with pytest.raises(ValueError, match="Unknown split 'half'. Choose official, 80-20 or grouped"):
        data.load(SST2, "half", sentences)


# ---- the Hub --------------------


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("task", [SST2, SQUAD], ids=lambda task: task.name)
@pytest.mark.parametrize("split", ["official", "80-20", "grouped"])
def test_without_the_hub_our_own_rows_answer(no_cache, task, split):
    found = data.load(task, split)
    assert found.source == "samples" and "The Hub cannot be reached" in found.note
    assert found.train and found.test


def test_a_name_server_that_never_answers_is_asked_once_and_not_waited_for(no_cache, monkeypatch):
    asked, answer = [], threading.Event()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: asked.append(a) or answer.wait())
    assert data.load(SST2).source == "samples", "a load that waits for the name server never comes here"
    assert len(asked) == 1
    answer.set()


def test_the_hub_is_asked_by_id(no_cache, monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_list(SST2.samples()[split == "validation"])

    monkeypatch.setattr(checks, "hub_answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert data.load(SST2).source == "hub"
    assert asked == [("stanfordnlp/sst2", "train"), ("stanfordnlp/sst2", "validation")]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("Dataset 'x/y' is a gated dataset on the Hub.", "is gated: accept its terms .* HF_TOKEN"),
        ("Dataset 'x/y' doesn't exist on the Hub", "The Hub has no data set 'stanfordnlp/sst2'"),
    ],
)
def test_a_gated_or_unknown_data_set_gets_a_sentence(no_cache, monkeypatch, said, sentence):
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    def load_dataset(name, split):
        raise DatasetNotFoundError(said)

    monkeypatch.setattr(checks, "hub_answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=sentence):
        data.load(SST2)


def test_a_download_that_fails_gets_a_sentence(no_cache, monkeypatch):
    import datasets
    from datasets.exceptions import DatasetGenerationError

    def load_dataset(name, split):
        raise DatasetGenerationError("An error occurred while generating the dataset")

    monkeypatch.setattr(checks, "hub_answers", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match="'stanfordnlp/sst2' could not be downloaded: An error occurred"):
        data.load(SST2)


def keep(folder, part, own):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(own)
    with pa.OSFile(str(folder / f"sst2-{part}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def test_what_was_downloaded_before_is_used_without_a_network(no_cache):
    folder = no_cache / "stanfordnlp___sst2" / "default" / "0.0.0" / "abc"
    for part, own in zip(SST2.splits, SST2.samples(), strict=True):
        keep(folder, part, own)
    found = data.load(SST2)
    assert found.source == "hub" and not found.note
    assert set(ids(found.test)) <= set(rows.examples(SST2, source="hub"))


def test_two_sources_are_never_mixed(no_cache):
    """One part is on this machine, the other is not: both are our own then."""
    keep(no_cache / "stanfordnlp___sst2" / "default" / "0.0.0" / "abc", "train", SST2.samples()[0][:9])
    found = data.load(SST2)
    assert found.source == "samples" and len(found.train) == len(SST2.samples()[0])


def test_a_download_that_broke_off_is_not_used(no_cache):
    folder = no_cache / "stanfordnlp___sst2" / "default" / "0.0.0"
    for part, own in zip(SST2.splits, SST2.samples(), strict=True):
        keep(folder / "abc.incomplete", part, own)
    assert data.load(SST2).source == "samples"
    (folder / "def").mkdir()
    (folder / "def" / "sst2-train.arrow").write_bytes(b"\x00" * 99)
    assert data.load(SST2).source == "samples"


def test_texts_are_found_for_every_source(sentences, no_cache):
    assert rows.examples(SST2, source="hub") == {}
    assert len(rows.examples(SST2)) == len(rows.examples(SST2, source="samples")) == len(SST2.samples()[1])
    assert len(rows.examples(SST2, sentences, split="80-20")) == len(SST2.samples()[0])
