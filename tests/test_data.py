"""Data: how rows are split, what a split leaks, and which rows a subset takes."""

import pandas as pd
import pytest

from llmft_core import rows, tasks
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
    pairs = [(SST2, "official"), (SST2, "80-20"), (SST2, "grouped"), (SQUAD, "official"), (SQUAD, "80-20")]
    shares = {(task.name, split): real(task, split).leakage["share"] for task, split in pairs}
    assert shares["sst2", "80-20"] == pytest.approx(0.987, abs=0.001)
    assert shares["sst2", "official"] == pytest.approx(0.133, abs=0.001)
    assert shares["sst2", "grouped"] < 0.06  # phrases of one or two words, which lie in many sentences
    assert shares["squad_v2", "official"] == 0
    assert shares["squad_v2", "80-20"] == pytest.approx(0.890, abs=0.001)  # 3.7 questions per paragraph here


def test_a_random_split_of_full_paragraphs_leaks_nearly_all_of_them(data_dir):
    found = data.load(SQUAD, "80-20", data_file=data_dir / "squad_v2" / "validation.parquet")
    assert found.leakage["share"] > 0.998 and found.source == "data-file"


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
