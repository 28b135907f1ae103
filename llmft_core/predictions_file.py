"""A predictions file, {id: answer}, against the gold answers: what `score` takes from anybody's model."""

from pathlib import Path

import pandas as pd

from llmft_core import files
from llmft_core.tasks import Example, Task

LARGEST = 500_000_000  # bytes


def read(path: Path) -> dict[str, str | int]:
    """{id: answer, or label name or number}. Raises ValueError for a file that holds anything else."""
    try:
        given = files.read_json(path, LARGEST)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such predictions file; check the path.") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: a folder; give the predictions file.") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}; predictions are one JSON object {{id: answer}}.") from None
    if not isinstance(given, dict) or not given:
        raise ValueError(f"{path.name}: holds no predictions; give one JSON object {{id: answer}}.")
    wrong = next((key for key, value in given.items() if not isinstance(value, str | int)), None)
    if wrong is not None:
        raise ValueError(
            f"{path.name}: the answer of '{wrong}' is {files.to_json(given[wrong])[:40]}; give a text or a label."
        )
    return given


def table(name: str, task: Task, given: dict, gold: dict[str, Example]) -> pd.DataFrame:
    """Prediction rows of one side. Raises ValueError if an example has no prediction or a prediction no example."""
    _check_ids(name, given, gold)
    return (_label_table if task.labels else _text_table)(task, given, gold)


def _check_ids(name: str, given: dict, gold: dict) -> None:
    missing, extra = [key for key in gold if key not in given], [key for key in given if key not in gold]
    wrongs = (
        [f"{len(missing):,} of {len(gold):,} examples have no prediction (such as {missing[0]})"] if missing else []
    )
    wrongs += [f"{len(extra):,} predictions have no example (such as {extra[0][:60]})"] if extra else []
    if wrongs:
        raise ValueError(f"{name}: {' and '.join(wrongs)}; give exactly one for each example.")


def _label_table(task: Task, given: dict, gold: dict[str, Example]) -> pd.DataFrame:
    numbers = {label.lower(): number for number, label in enumerate(task.labels)}
    numbers |= {str(number): number for number in range(len(task.labels))}
    rows = [
        (key, example.group, task.labels.index(example.answers[0]), numbers.get(str(given[key]).strip().lower(), -1))
        for key, example in gold.items()
    ]
    table = pd.DataFrame(rows, columns=["id", "group", "gold", "predicted"])
    return table.assign(correct=(table["gold"] == table["predicted"]).astype(float))


def _text_table(task: Task, given: dict, gold: dict[str, Example]) -> pd.DataFrame:
    rows = []
    for key, example in gold.items():
        answer = str(given[key])
        about = {"id": key, "group": example.group, "answer": answer}
        about |= {"has_answer": bool(example.answers), "golds": list(example.answers)}
        scores = task.score(answer, example)
        rows.append(about | scores | {"correct": scores[task.headline]})
    return pd.DataFrame(rows)
