"""Real SQuAD v2 answers of two published systems: our scores are the official script's, question by question.

Needs the development data: LLMFT_DATA_DIR, or shared/data beside the repository. Skips, and says so, without it.
"""

import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from llmft_core import metrics

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA = Path(os.environ.get("LLMFT_DATA_DIR") or BESIDE)
SYSTEMS = ("nlnet", "bidaf_elmo")


def needs(name: str):
    path = DATA / name
    return pytest.mark.skipif(not path.exists(), reason=f"NOT CHECKED: {path} is absent; set LLMFT_DATA_DIR.")


needs_dev = needs("squad_v2/validation.parquet")
needs_oracle = needs("oracle/squad_v2_dev_totals.json")
needs_wordnet = needs("wordnet/oewn_synsets.json.gz")


@pytest.fixture(scope="module")
def dev() -> pd.DataFrame:
    frame = pd.read_parquet(DATA / "squad_v2/validation.parquet")
    return frame.assign(golds=[[str(text) for text in answers["text"]] for answers in frame["answers"]])


def summary(answers, golds_list) -> dict[str, float]:
    rows = [
        {"has_answer": bool(golds), "answer": answer, "golds": golds}
        | metrics.squad_item(answer, golds)
        | metrics.overlap_item(answer, golds)
        for answer, golds in zip(answers, golds_list, strict=True)
    ]
    return metrics.squad_summary(pd.DataFrame(rows))


@needs_dev
@needs_oracle
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_question_and_every_total_is_the_official_scripts(dev, system):
    oracle = DATA / "oracle"
    predictions = json.loads((oracle / f"squad_v2_dev_{system}_predictions.json").read_text())
    official = json.loads(gzip.decompress((oracle / f"squad_v2_dev_{system}_scores.json.gz").read_bytes()))
    totals = json.loads((oracle / "squad_v2_dev_totals.json").read_text())[system]
    answers = [predictions[key] for key in dev["id"]]
    ours = {
        key: list(metrics.squad_item(answer, golds).values())
        for key, answer, golds in zip(dev["id"], answers, dev["golds"], strict=True)
    }
    assert len(ours) == len(official) == 11_873
    # The published scores were written with twelve digits.
    assert [key for key, (exact, f1) in ours.items() if [exact, round(f1, 12)] != official[key]] == []
    table = pd.DataFrame(ours.values(), columns=["exact_match", "f1"]).assign(answer=answers)
    found = metrics.squad_summary(table.assign(has_answer=[bool(golds) for golds in dev["golds"]]))
    names = {"exact": "exact_match", "f1": "f1", "HasAns_exact": "has_answer_exact_match", "HasAns_f1": "has_answer_f1"}
    names |= {"NoAns_exact": "no_answer_exact_match", "NoAns_f1": "no_answer_f1"}
    assert {name: 100 * found[ours] for name, ours in names.items()} == pytest.approx(
        {name: totals[name] for name in names}
    )
    # One prediction is a bare article: exact match takes it for silence, so the abstention rate does too.
    only_words_dropped = {"nlnet": 0, "bidaf_elmo": 1}[system]
    assert answers.count("") == totals["n_empty"]
    assert found["abstention_rate"] == (totals["n_empty"] + only_words_dropped) / totals["total"]


@needs_dev
def test_the_dev_set_is_whole_and_the_do_nothing_baseline_is_50_07(dev):
    unanswerable = int((dev["golds"].map(len) == 0).sum())
    assert (len(dev), unanswerable) == (11_873, 5_945)
    silent = np.mean([metrics.exact_match("", golds) for golds in dev["golds"]])
    assert round(100 * silent, 2) == 50.07


@needs_dev
def test_ceilings_talkative_answers_and_people_score_what_was_published_for_five_articles(dev):
    five = dev[dev["title"].isin(list(dict.fromkeys(dev["title"]))[:5])]
    golds = [found for found in five["golds"] if found]
    assert (len(five), len(golds)) == (1_407, 705)
    first = [found[0] for found in golds]
    second = [(found + found)[1] for found in golds]

    def scores(answers, references, names):
        found = summary(answers, references)
        return [round(found[name], 3) for name in names.split()]

    perfect = scores(first, golds, "exact_match f1 bleu bleu_sentence rouge1 rougeL rouge2 meteor")
    assert perfect == [1, 1, 1, 1, 1, 1, 0.613, pytest.approx(0.762, abs=0.0015)]
    talking = scores(
        [f"The answer is {text}." for text in first], golds, "exact_match f1 bleu bleu_sentence meteor rougeL rouge2"
    )
    assert talking == [0, 0.615, 0.169, pytest.approx(0.183, abs=0.001), 0.629, 0.558, 0.313]
    others = [found[:1] + found[2:] for found in golds]
    assert scores(second, others, "exact_match f1 bleu") == [0.818, 0.924, 0.737]
    assert scores(second, [found[:1] for found in golds], "exact_match f1 bleu") == [
        0.736,
        pytest.approx(0.885, abs=0.001),
        0.57,
    ]


# --- METEOR with synonyms: nltk's own published values ---

GUIDE = "It is a guide to action which ensures that the military always obeys the commands of the party"
GUIDE_GOLD = "It is a guide to action that ensures that the military will forever heed Party commands"
ENDINGS = {
    "n": [("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("men", "man")],
    "v": [("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    "a": [("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    "r": [],
}  # fmt: skip


class OpenEnglishWordNet:
    """Open English WordNet in the one shape that METEOR asks for: synsets(word) -> things with lemmas() with name()."""

    def __init__(self, path: Path) -> None:
        data = json.loads(gzip.decompress(path.read_bytes()))
        self.irregular = data["irregular_forms"]
        self.found: dict[tuple[str, str], list] = {}
        for key, members in data["synsets"]:
            names = [member.replace(" ", "_") for member in members]
            synset = SimpleNamespace(lemmas=lambda names=names: [SimpleNamespace(name=lambda n=n: n) for n in names])
            pos = key[-1].replace("s", "a")
            for name in names:
                self.found.setdefault((name.lower(), pos), []).append(synset)

    def synsets(self, word: str) -> list:
        forms = {(word, pos) for pos in ENDINGS} | {tuple(form.split("\t")) for form in self.irregular.get(word, [])}
        for pos, endings in ENDINGS.items():
            forms |= {(word.removesuffix(end) + stem, pos) for end, stem in endings if word.endswith(end)}
        return [synset for form in forms for synset in self.found.get(form, [])]


@needs_wordnet
def test_meteor_with_wordnet_gives_nltks_published_values():
    wordnet = OpenEnglishWordNet(DATA / "wordnet/oewn_synsets.json.gz")
    assert round(metrics.meteor(GUIDE, [GUIDE_GOLD], wordnet), 4) == 0.6944
    assert metrics.meteor("THIS Is a tEST", ["this is a test", "this istest"], wordnet) == 0.9921875
    assert round(metrics.meteor("The cat was sat on the mat", ["The cat sat on the mat"], wordnet), 4) == 0.9654
    assert metrics.meteor("car", ["auto"], wordnet) == 0.5
    assert metrics.meteor("car", ["automobile"], wordnet) == 0  # nltk looks for synonyms of stems: "automobil" is none
