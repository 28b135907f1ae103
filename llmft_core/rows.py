"""Rows in files: a data file becomes Examples, and a row that is wrong is named. Light enough for the app."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from llmft_core.tasks import Example, Task, squad_v2

SUFFIXES = (".parquet", ".csv", ".json", ".jsonl")
LARGEST = 2 * 1024**3  # bytes


def folder(data_dir: str | Path | None) -> Path | None:
    """The folder that was asked for, or LLMFT_DATA_DIR, or none. Raises ValueError if it is not there."""
    given = data_dir or os.environ.get("LLMFT_DATA_DIR")
    if not given:
        return None
    path = Path(given).expanduser()
    if not path.is_dir():
        raise ValueError(f"{given}: no such data folder; give --data-dir a folder that holds sst2/ or squad_v2/.")
    return path


def file_in(task: Task, data_dir: Path, part: str) -> Path:
    """The file of one part ("train", "validation") of a task in a data folder. Raises ValueError if there is none."""
    for suffix in SUFFIXES:
        path = data_dir / task.name / f"{part}{suffix}"
        if path.is_file():
            return path
    raise ValueError(f"{data_dir}: holds no {task.name}/{part}.parquet (nor .csv, .json, .jsonl); put it there.")


def read(task: Task, path: str | Path) -> list[Example]:
    """All rows of one parquet, csv, json or jsonl file (or the official SQuAD JSON).

    Raises ValueError with one sentence that names the file and, for a bad row, its number (the first row of data is 1)
    and column.
    """
    path = Path(path).expanduser()
    refuse_unreadable(path)
    records = READERS[path.suffix.lower()](path)
    return checked(task, records, path.name)


def checked(task: Task, records: Iterable[Mapping], name: str) -> list[Example]:
    """Rows -> Examples; where no row has an id, its number does. Raises ValueError for no rows, or a wrong one.

    The sentence names the place: "dev.csv, row 17, column label: …".
    """
    records = list(records)
    key, needed = task.columns[0], task.columns[1:]
    has_ids = any(key in record for record in records)
    examples, first_row = [], {}
    for number, record in enumerate(records, 1):
        record = record if has_ids else {**record, key: number}
        missing = [column for column in needed if column not in record]
        if missing:
            which = f"column {missing[0]} is" if len(missing) == 1 else f"columns {', '.join(missing)} are"
            raise ValueError(f"{name}, row {number}: {which} missing; {_needs(task)}.")
        if key not in record:
            raise ValueError(f"{name}, row {number}: column {key} is missing, and other rows have it; give it to all.")
        try:
            example = task.to_example(record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{name}, row {number}, column {error}.") from None
        if first_row.setdefault(example.id, number) != number:
            raise ValueError(
                f"{name}, row {number}, column {task.columns[0]}: '{example.id}' is also row {first_row[example.id]}; "
                "give every row its own."
            )
        examples.append(example)
    if not examples:
        raise ValueError(f"{name}: holds no rows; {_needs(task)}.")
    return examples


def _needs(task: Task) -> str:
    return f"{task.title} needs the columns {', '.join(task.columns[1:])} ({task.columns[0]} may be left out)"


def refuse_unreadable(path: Path) -> None:
    """Raises ValueError for a file that is not there, empty, too large, or of no kind that is read."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path.name}: not a data file; give one that ends in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check the path.")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path.name}: the file is empty; give one with rows.")
    if size > LARGEST:
        raise ValueError(
            f"{path.name}: {size / 1024**3:.1f} GB is more than the 2 GB that are read; give a part of it."
        )


def _parquet(path: Path) -> list[dict]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return records(pq.read_table(path).to_pandas())
    except (pa.ArrowException, OSError):
        raise ValueError(f"{path.name}: not a parquet file, or a damaged one; write it again.") from None


def _csv(path: Path) -> list[dict]:
    try:
        # as text throughout: one empty cell must not turn whole numbers into decimals, nor "NA" into nothing
        return records(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: not UTF-8 text; save it as a UTF-8 csv file.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise ValueError(f"{path.name}: not a csv file that can be read ({_short(error)}); mend it.") from None


def _json(path: Path) -> list[dict]:
    text = _text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object per line under the wrong ending
            return _lines(path, text)
        raise ValueError(f"{path.name}, line {error.lineno}: not JSON ({error.msg}).") from None
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
        if content and isinstance(content[0], dict) and "paragraphs" in content[0]:
            return _official(path.name, content)
    if isinstance(content, dict):
        content = [content]
    return _dicts(path.name, content)


def _jsonl(path: Path) -> list[dict]:
    return _lines(path, _text(path))


def _lines(path: Path, text: str) -> list[dict]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path.name}, line {number}: not JSON ({error.msg}).") from None
    return _dicts(path.name, rows)


def _official(name: str, articles: list) -> list[dict]:
    try:
        return squad_v2.flat(articles)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{name}: not the official form of SQuAD ({_short(error)} is missing or out of place)."
        ) from None


def _dicts(name: str, rows) -> list[dict]:
    if not isinstance(rows, list):
        raise ValueError(f"{name}: holds {type(rows).__name__} where a list of rows was expected.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f"{name}, row {number}: {str(row)[:40]!r} is not an object with named columns.")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: not UTF-8 text; save it as UTF-8.") from None


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120].rstrip(".")


def records(frame: pd.DataFrame) -> list[dict]:
    """The rows of a frame as dicts (`to_dict("records")`, five times as fast for text)."""
    columns = [frame[name].tolist() for name in frame.columns]
    return [dict(zip(frame.columns, values, strict=True)) for values in zip(*columns, strict=True)]


READERS = {".parquet": _parquet, ".csv": _csv, ".json": _json, ".jsonl": _jsonl}


def downloaded(task: Task, part: str) -> list[Example] | None:
    """The rows of one part that `datasets` has downloaded before and keeps on this machine, or None."""
    import pyarrow as pa
    from huggingface_hub import constants

    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    found = (cache / task.hub_id.replace("/", "___")).glob(f"**/*-{part}*.arrow")
    whole = sorted(path for path in found if not path.parent.name.endswith(".incomplete"))
    if not whole:
        return None
    newest = max(whole, key=lambda path: path.stat().st_mtime).parent
    files = [path for path in whole if path.parent == newest]
    try:
        table = pa.concat_tables([pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in files])
        return checked(task, records(table.to_pandas()), task.hub_id)
    except (pa.ArrowException, OSError, ValueError):
        return None  # a damaged cache is as good as none: the data is downloaded again


def samples(task: Task, part: str) -> list[Example]:
    """Our own rows of a task: those to learn from for the first of its parts, those to test on for the other."""
    return checked(task, task.samples()[part != task.splits[0]], f"samples of {task.title}")


def examples(
    task: Task,
    data_dir: str | Path | None = None,
    data_file: str | Path | None = None,
    split: str = "official",
    source: str | None = None,
) -> dict[str, Example]:
    """The texts that a run was tested on, by id, to show beside its predictions; perhaps more than were tested.

    `source` is the run's ("hub", "data-dir", "data-file", "samples"; None: what is at hand, in the order of
    `engine/data`). Empty if the rows are not on this machine. Raises ValueError for a file that cannot be read.
    """
    part = task.splits[split == "official"]
    if data_file and source in (None, "data-file"):
        found = read(task, data_file)
    elif source in (None, "data-dir") and folder(data_dir):
        found = read(task, file_in(task, folder(data_dir), part))
    elif source in (None, "hub") and (kept := downloaded(task, part)):
        found = kept
    elif source in (None, "samples"):
        found = samples(task, part)
    else:
        found = []
    return {example.id: example for example in found}
