"""Phrases in phrases: families of sentences, and what a test set shares with a training set."""

from llmft_core import rows, tasks
from llmft_core.engine import overlap

SST2 = tasks.find("sst2")


def test_pieces_of_a_sentence_are_one_family():
    sentence = "the ferry was late , but the tea was hot and the view was grand ."
    family = overlap.families(
        [sentence, "The tea was hot.", "grand .", "ferry", "the view was grand", "a stone in the shoe",
         "was late ,", "stone"]
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


def test_a_share_counts_pieces_of_training_texts_and_rows_that_hold_one():
    train = ["the tea was hot and the view was grand", "a stone in the shoe"]
    assert overlap.share_found(["view", "The tea was hot.", "there is a stone in the shoe of the king"], train) == 1
    assert overlap.share_found(["the stone", "hot tea", "a shoe"], train) == 0
    assert overlap.share_found(["stone in the soup", "grand"], train) == 0.5
    assert overlap.share_found([], train) == overlap.share_found(["view"], []) == 0
