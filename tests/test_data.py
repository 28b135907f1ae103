"""Data: where rows come from, how they are split, what a split leaks, and what happens without a network."""

import sys
import time

import pandas as pd
import pyarrow as pa
import pytest
from huggingface_hub import constants

from llmft_core import checks, rows, tasks
from llmft_core.engine import data, overlap

SST2, SQUAD = tasks.find("sst2"), tasks.find("squad_v2")


@pytest.fixture(scope="module")
def real(data_dir):
    """Loads a task's real data once per split: real(task, split)."""
    kept = {}

    def load(task, split):
        if (task.name, split) not in kept:
            kept[task.name, split] = data.load(task, split, data_dir)
        return kept[task.name, split]

    return load


@pytest.fixture
def sentences(tmp_path):
    """A data folder with our own sentences as SST-2."""
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    for part, own in zip(SST2.splits, SST2.samples(), strict=True):
        pd.DataFrame(own).to_parquet(folder / f"{part}.parquet")
    return tmp_path / "data"


def ids(examples):
    return [example.id for example in examples]


def groups(examples):
    return {example.group for example in examples}


# ---- the real data --------------------


def test_official_parts_have_the_known_counts(real):
    sst2, squad = real(SST2, "official"), real(SQUAD, "official")
    assert (len(sst2.train), len(sst2.test)) == (67_349, 872)
    assert len(squad.test) == 11_873 and sum(not example.answers for example in squad.test) == 5_945
    assert len(groups(squad.test)) == 1_204
    assert not groups(squad.train) & groups(squad.test)
    assert sst2.source == squad.source == "data-dir" and not sst2.note


@pytest.mark.parametrize("split", ["80-20", "grouped"])
@pytest.mark.parametrize("task", [SST2, SQUAD], ids=lambda task: task.name)
def test_a_split_is_80_to_20_and_disjoint(real, task, split):
    found, official = real(task, split), real(task, "official")
    assert sorted(ids(found.train) + ids(found.test)) == sorted(ids(official.train))
    assert len(found.test) == pytest.approx(len(official.train) / 5, abs=1)


def test_80_20_keeps_the_share_of_each_label(real):
    found = real(SST2, "80-20")
    shares = [sum(e.answers == ("positive",) for e in part) / len(part) for part in (found.train, found.test)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-4)


def test_grouped_has_no_paragraph_on_both_sides(real):
    found = real(SQUAD, "grouped")
    assert not {e.shared for e in found.train} & {e.shared for e in found.test}
    assert found.leakage["share"] == 0


def test_grouped_has_no_sentence_family_on_both_sides(real):
    """No phrase of three tokens or more of one side lies in a row of the other, however one cuts tokens."""
    found = real(SST2, "grouped")
    assert not groups(found.train) & groups(found.test)
    for cut in (overlap.tokens, lambda text: tuple(text.lower().split())):
        one, other = ([cut(e.question) for e in part] for part in (found.train, found.test))
        for inner, outer in ((one, other), (other, one)):
            phrases = list({phrase for phrase in inner if len(phrase) >= (3 if cut is overlap.tokens else 4)})
            assert len(overlap.contained(phrases, outer)[0]) == 0
    bare = [{overlap._words(overlap.tokens(e.question)) for e in part} for part in (found.train, found.test)]
    assert not bare[0] & bare[1]


def test_families_stay_small(real):
    """Three tokens tie the pieces of a sentence together without tying sentences into one heap."""
    found = real(SST2, "grouped")
    sizes = pd.Series([e.group for e in found.train + found.test]).value_counts()
    assert sizes.iloc[0] < 0.015 * 67_349 and 8_000 < len(sizes) < 11_000


def test_leakage_is_what_was_measured(real):
    shares = {(task.name, split): real(task, split).leakage["share"] for task, split in
              ((SST2, "official"), (SST2, "80-20"), (SST2, "grouped"), (SQUAD, "official"), (SQUAD, "80-20"))}  # fmt: skip
    assert shares["sst2", "80-20"] == pytest.approx(0.986, abs=0.001)
    assert shares["sst2", "official"] == pytest.approx(0.128, abs=0.001)
    assert shares["sst2", "grouped"] < 0.06  # phrases of one or two words, which lie in many sentences
    assert shares["squad_v2", "official"] == 0
    assert shares["squad_v2", "80-20"] == pytest.approx(0.890, abs=0.001)  # this part has 3.7 questions per paragraph


def test_a_random_split_of_full_paragraphs_leaks_nearly_all_of_them(data_dir):
    found = data.load(SQUAD, "80-20", data_file=data_dir / "squad_v2" / "validation.parquet")
    assert found.leakage["share"] > 0.998 and found.source == "data-file"


def test_leakage_of_67_thousand_rows_takes_seconds(real):
    found = real(SST2, "80-20")
    begun = time.process_time()
    data.leakage(found.train, found.test)
    assert time.process_time() - begun < 10


def test_evaluate_sees_the_same_test_rows_as_the_run(real, data_dir):
    for split in ("official", "80-20", "grouped"):
        alone = data.load_test(SQUAD, split, data_dir)
        assert alone.fingerprint["test"] == real(SQUAD, split).fingerprint["test"]
        assert ids(alone.test) == ids(real(SQUAD, split).test)


def test_texts_can_be_joined_to_the_test_rows(real, data_dir):
    for split in ("official", "80-20"):
        texts = rows.examples(SST2, data_dir, split=split)
        assert all(texts[example.id].question == example.question for example in real(SST2, split).test)


# ---- subsets --------------------


def test_a_subset_is_exact_seeded_and_grows(sentences):
    def take(count, seed=1):
        return ids(data.load(SST2, data_dir=sentences, seed=seed, eval_examples=count).test)

    assert len(take(20)) == 20 and take(20) == take(20)
    assert take(40)[:20] == take(20)
    assert set(take(20, seed=2)) != set(take(20))
    assert len(take(10_000)) == len(SST2.samples()[1])


def test_a_subset_of_questions_takes_whole_paragraphs():
    found = rows.samples(SQUAD, "train")
    chosen = data.take(found, 50, seed=1)
    assert len(chosen) == 50
    whole = [group for group in groups(chosen) if {e.id for e in found if e.group == group} <= set(ids(chosen))]
    assert len(whole) >= len(groups(chosen)) - 1
    assert [e.group for e in chosen] == sorted((e.group for e in chosen), key=[e.group for e in chosen].index)


def test_a_subset_does_not_depend_on_the_order_of_the_file():
    found = rows.samples(SST2, "train")
    assert ids(data.take(found, 30, 1)) == ids(data.take(found[::-1], 30, 1))


def test_a_fingerprint_knows_texts_but_not_their_order():
    found = rows.samples(SST2, "train")
    assert data.fingerprint(found) == data.fingerprint(found[::-1])
    assert data.fingerprint(found) != data.fingerprint(found[1:])


# ---- families --------------------


def test_pieces_of_a_sentence_are_one_family():
    sentence = "the ferry was late , but the tea was hot and the view was grand ."
    family = overlap.families(
        [sentence, "the tea was hot", "grand .", "ferry", "the view was grand", "a stone in the shoe", "was late ,", "stone"]
    )  # fmt: skip
    assert list(family) == [0, 0, 0, 0, 0, 5, 0, 5]


def test_a_short_phrase_of_many_sentences_stays_alone():
    family = overlap.families(["a good film about bees", "not a good film for wasps", "good film", "good film !"])
    assert len(set(family)) == 3 and family[2] == family[3]


def test_families_do_not_depend_on_the_order_of_rows():
    texts = [example.question for example in rows.samples(SST2, "train")] + ["the twist is not", "clever , it is"]
    names = {texts[i]: texts[k] for i, k in enumerate(overlap.families(texts))}
    assert names == {texts[::-1][i]: texts[::-1][k] for i, k in enumerate(overlap.families(texts[::-1]))}


def test_contained_finds_what_a_plain_search_finds():
    texts = [overlap.tokens(example.question) for example in rows.samples(SST2, "train")[:60]]
    phrases = list({text[i : i + n] for text in texts for n in (1, 2, 4, 40) for i in range(0, len(text) - n + 1, 3)})
    found = set(zip(*(side.tolist() for side in overlap.contained(phrases, texts)), strict=True))
    plain = {
        (i, k) for i, phrase in enumerate(phrases) for k, text in enumerate(texts)
        if any(text[j : j + len(phrase)] == phrase for j in range(len(text)))
    }  # fmt: skip
    assert found == plain and len(found) > len(phrases) > 100


def test_very_long_texts_are_told_by_their_beginnings():
    story = " ".join(f"word{i}" for i in range(300))
    assert list(overlap.families([story, " ".join(story.split()[100:250]), "word7 word9 word8"])) == [0, 0, 2]
    assert overlap.share_found([story], [" ".join(story.split()[100:250])]) == 1


# ---- files --------------------


GOOD = {"idx": [1, 2, 3], "sentence": ["A fine day", "A \"grey\" day, no", "null"], "label": [1, 0, 1]}


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".json", ".jsonl"])
def test_every_format_gives_the_same_rows(tmp_path, ending):
    path, frame = tmp_path / f"dev{ending}", pd.DataFrame(GOOD)
    write = {".parquet": frame.to_parquet, ".csv": lambda p: frame.to_csv(p, index=False)}
    write[".json"] = lambda p: frame.to_json(p, orient="records")
    write[".jsonl"] = lambda p: frame.to_json(p, orient="records", lines=True)
    write[ending](path)
    found = rows.read(SST2, path)
    assert [(e.id, e.question, e.answers[0]) for e in found] == [
        ("1", "A fine day", "positive"), ("2", 'A "grey" day, no', "negative"), ("3", "null", "positive")
    ]  # fmt: skip


def test_lines_under_the_ending_json_are_read(tmp_path):
    pd.DataFrame(GOOD).to_json(tmp_path / "dev.json", orient="records", lines=True)
    assert len(rows.read(SST2, tmp_path / "dev.json")) == 3


def test_questions_are_read_from_every_form(tmp_path):
    own = SQUAD.samples()[1]
    want = [SQUAD.to_example(row) for row in own]
    frame = pd.DataFrame(own)
    answers = [
        {"text": [a["text"] for a in cell], "answer_start": [a["answer_start"] for a in cell]} for cell in frame.answers
    ]
    frame.assign(answers=answers).to_parquet(tmp_path / "a.parquet")
    frame.assign(answers=[pd.Series([cell]).to_json(orient="values")[1:-1] for cell in answers]).to_csv(
        tmp_path / "b.csv", index=False
    )
    frame.to_json(tmp_path / "c.jsonl", orient="records", lines=True)
    (tmp_path / "d.json").write_text('{"version": "v2.0", "data": %s}' % _nested(), encoding="utf-8")
    for name in ("a.parquet", "b.csv", "c.jsonl", "d.json"):
        assert rows.read(SQUAD, tmp_path / name) == want, name


def _nested():
    import json

    from llmft_core.tasks import samples

    return json.dumps(samples.read("squad_v2")[1])


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


HEAD = "idx,sentence,label\n"
WRONG = {
    "label.csv": (HEAD + "1,fine,1\n2,so so,maybe\n", r"label.csv, row 2, column label: 'maybe' is not 0 or 1\."),
    "blank.csv": (HEAD + "1,fine,1\n2,,0\n", r"blank.csv, row 2, column sentence: '' is not a text\."),
    "twice.csv": (HEAD + "1,fine,1\n1,bad,0\n", r"twice.csv, row 2, column idx: '1' is also row 1"),
    "none.csv": (HEAD, r"none.csv: holds no rows; give a file with the columns idx, sentence, label\."),
    "other.csv": ("text,label\nfine,1\n", r"other.csv, row 1: column idx, sentence is missing; SST-2 needs"),
    "ragged.csv": (HEAD + "1,fine,1\n2,a,b,c,0\n", r"ragged.csv: not a csv file that can be read \(.*line 3"),
    "empty.csv": ("", r"empty.csv: the file is empty"),
    "binary.csv": (b"\xff\xfe\x00\x01" * 99, r"binary.csv: not UTF-8 text"),
    "binary.json": (b"\xff\xfe\x00\x01" * 99, r"binary.json: not UTF-8 text"),
    "binary.parquet": (b"\x00\x01" * 99, r"binary.parquet: not a parquet file"),
    "broken.json": ('[{"idx": 1,', r"broken.json, line 1: not JSON"),
    "broken.jsonl": ('{"idx": 1, "sentence": "fine", "label": 1}\n{"idx": 2,\n', r"broken.jsonl, line 2: not JSON"),
    "list.json": ("[1, 2]", r"list.json, row 1: '1' is not an object"),
    "number.json": ("7", r"number.json: holds int where a list of rows was expected"),
    "rows.txt": ("x", r"rows.txt: not a data file; give one that ends in .parquet"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_gets_one_sentence(tmp_path, name):
    text, sentence = WRONG[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        rows.read(SST2, written(tmp_path, name, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_get_one_sentence(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(ValueError, match="no such file|not a data file"):
            rows.read(SST2, path)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(rows.LARGEST + 1)
    with pytest.raises(ValueError, match=r"huge.csv: 2.0 GB is more than the 2 GB"):
        rows.read(SST2, path)


def test_a_misshapen_official_file_gets_one_sentence(tmp_path):
    path = written(tmp_path, "dev.json", '{"data": [{"paragraphs": [{"qas": [{}]}]}]}')
    with pytest.raises(ValueError, match="dev.json: not the official form of SQuAD"):
        rows.read(SQUAD, path)


def test_bad_answers_in_a_csv_are_named(tmp_path):
    text = "id,title,context,question,answers\na,t,A hen ran.,What ran?,\"{'text': ['hen']}\"\n"
    with pytest.raises(ValueError, match=r"dev.csv, row 1, column answers: .* is not JSON such as"):
        rows.read(SQUAD, written(tmp_path, "dev.csv", text))


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
    pd.DataFrame(GOOD).to_csv(path, index=False)
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
    pd.DataFrame(GOOD).head(1).to_csv(path, index=False)
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


def test_without_a_network_the_answer_comes_within_two_seconds(no_cache, monkeypatch):
    """Not even a name server that never answers holds us up."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: time.sleep(30))
    begun = time.perf_counter()
    assert data.load(SST2).source == "samples"
    assert time.perf_counter() - begun < 2
    assert "datasets" not in sys.modules or sys.modules["datasets"], "nothing was asked of datasets"


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


def test_texts_are_read_without_torch_or_datasets():
    import os
    import subprocess

    code = "import sys; from llmft_core import rows, tasks; rows.examples(tasks.find('squad2')); print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    heavy = {"torch", "transformers", "datasets", "sklearn", "scipy", "nltk", "sacrebleu", "rouge_score", "gradio"}
    assert not heavy & set(loaded.stdout.split())
