"""Rows in files: every format gives the same rows, and what is wrong is named in one sentence."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from llmft_core import rows, tasks
from llmft_core.tasks import samples

SST2, SQUAD = tasks.find("sst2"), tasks.find("squad_v2")
GOOD = {"idx": [1, 2, 3], "sentence": ["A fine day", 'A "grey" day, no', "null"], "label": [1, 0, 1]}


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


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".json", ".jsonl"])
def test_without_a_column_of_ids_the_number_of_the_row_does(tmp_path, ending):
    path, frame = tmp_path / f"dev{ending}", pd.DataFrame(GOOD).drop(columns="idx")
    write = {".parquet": frame.to_parquet, ".csv": lambda p: frame.to_csv(p, index=False)}
    write[".json"] = lambda p: frame.to_json(p, orient="records")
    write[".jsonl"] = lambda p: frame.to_json(p, orient="records", lines=True)
    write[ending](path)
    assert [(e.id, e.question) for e in rows.read(SST2, path)] == list(zip("123", GOOD["sentence"], strict=True))


def test_questions_without_ids_are_numbered_in_both_forms(tmp_path):
    articles = samples.read("squad_v2")[1]
    for item in (item for article in articles for part in article["paragraphs"] for item in part["qas"]):
        del item["id"]
    (tmp_path / "a.json").write_text(json.dumps({"data": articles}), encoding="utf-8")
    pd.DataFrame(SQUAD.samples()[1]).drop(columns="id").to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    for name in ("a.json", "b.jsonl"):
        found = rows.read(SQUAD, tmp_path / name)
        assert [e.id for e in found] == [str(number) for number in range(1, len(found) + 1)]
        assert [e.question for e in found] == [row["question"] for row in SQUAD.samples()[1]]


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
    (tmp_path / "d.json").write_text(
        json.dumps({"version": "v2.0", "data": samples.read("squad_v2")[1]}), encoding="utf-8"
    )
    for name in ("a.parquet", "b.csv", "c.jsonl", "d.json"):
        assert rows.read(SQUAD, tmp_path / name) == want, name


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


HEAD = "idx,sentence,label\n"
WRONG = {
    "label.csv": (HEAD + "1,fine,1\n2,so so,maybe\n", r"label.csv, row 2, column label: 'maybe' is not 0 or 1\."),
    "blank.csv": (HEAD + "1,fine,1\n2,,0\n", r"blank.csv, row 2, column sentence: '' is not a text\."),
    "twice.csv": (HEAD + "1,fine,1\n1,bad,0\n", r"twice.csv, row 2, column idx: '1' is also row 1"),
    "none.csv": (HEAD, r"none.csv: holds no rows; SST-2 needs the columns sentence, label \(idx may be left out\)\."),
    "other.csv": (
        "text,label\nfine,1\n",
        r"other.csv, row 1: column sentence is missing; SST-2 needs the columns",
    ),
    "some.json": (
        '[{"idx": 1, "sentence": "a", "label": 1}, {"sentence": "b", "label": 0}]',
        r"some.json, row 2: column idx",
    ),
    "label, no id.csv": ("sentence,label\nfine,1\nso so,maybe\n", r"csv, row 2, column label: 'maybe' is not 0 or 1\."),
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


def test_texts_are_read_without_torch_or_datasets():
    code = "import sys; from llmft_core import rows, tasks; rows.examples(tasks.find('squad2')); print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    heavy = {"torch", "transformers", "datasets", "sklearn", "scipy", "nltk", "sacrebleu", "rouge_score", "gradio"}
    assert not heavy & set(loaded.stdout.split())
