"""Our task metrics as `evaluate.Metric` objects, for scripts that speak that library's language.

`evaluate.load` fetches each metric from the Hub; these need no network. Importing this file imports neither `evaluate`
nor `datasets`: they take seconds, and nothing else here needs them.

    metric("sst2").compute(predictions=[1, 0, -1], references=[1, 1, 0])
"""

import pandas as pd

from llmft_core import metrics

NAMES = ("sst2", "squad_v2")


def metric(name: str):
    """An `evaluate.Metric` for "sst2" or "squad_v2", whose `compute` gives our metrics in 0..1.

    sst2: label numbers, -1 for an invalid prediction, and perhaps p_positive=[…]. squad_v2: the Hub metric's input,
    matched by id: {"id", "prediction_text", "no_answer_probability"} and {"id", "answers": {"text", "answer_start"}}.
    Values are kept in memory, because evaluate's cache files clash between users of one server. Raises ValueError for
    another name.
    """
    if name not in NAMES:
        raise ValueError(f"No metric is named '{name}'; choose {' or '.join(NAMES)}.")
    return (_sst2 if name == "sst2" else _squad_v2)()(keep_in_memory=True)


def _sst2() -> type:
    import evaluate
    from datasets import Features, Value

    class Sst2(evaluate.Metric):
        """Binary classification: positive = 1."""

        def _info(self):
            features = Features({"predictions": Value("int64"), "references": Value("int64")})
            return evaluate.MetricInfo(description=self.__doc__, citation="", inputs_description="", features=features)

        def _compute(self, predictions, references, p_positive=None):
            return metrics.classification(references, predictions, p_positive)

    return Sst2


def _squad_v2() -> type:
    import evaluate
    from datasets import Features, List, Value

    class SquadV2(evaluate.Metric):
        """SQuAD v2 by the official rules, and text overlap on the questions that have an answer."""

        def _info(self):
            prediction = {
                "id": Value("string"),
                "prediction_text": Value("string"),
                "no_answer_probability": Value("float64"),
            }
            answers = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
            features = Features({"predictions": prediction, "references": {"id": Value("string"), "answers": answers}})
            return evaluate.MetricInfo(description=self.__doc__, citation="", inputs_description="", features=features)

        def _compute(self, predictions, references):
            return _squad_scores(predictions, references)

    return SquadV2


def _squad_scores(predictions: list[dict], references: list[dict]) -> dict[str, float]:
    given = {row["id"]: row for row in predictions}
    absent = [row["id"] for row in references if row["id"] not in given]
    if absent:
        raise ValueError(f"{len(absent)} questions have no prediction, '{absent[0]}' for one; write \"\" to abstain.")
    rows = []
    for reference in references:
        prediction, golds = given[reference["id"]], list(reference["answers"]["text"])
        text = prediction["prediction_text"]
        row = {
            "has_answer": bool(golds),
            "answer": text,
            "golds": golds,
            "p_no_answer": prediction["no_answer_probability"],
        }
        rows.append(row | metrics.squad_item(text, golds) | metrics.overlap_item(text, golds))
    return metrics.squad_summary(pd.DataFrame(rows))
