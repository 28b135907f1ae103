"""One tokenization path: BOS once, stable borders, the text is cut and never the question, labels must not collide."""

import pytest
import tiny
from transformers import AutoTokenizer

from llmft_core.engine.prompts import Prompter
from llmft_core.tasks.base import Prompt

PROMPT = Prompt("Read this.\nA fox ran.\n", "Question: Who ran?\nAnswer:")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    tiny.llama(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    tiny.gemma2(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_bos_stands_in_front_exactly_once(plain, chatty):
    for tokenizer in (plain, chatty):
        ids = Prompter(tokenizer).encode(PROMPT).ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1


def test_prompt_parts_are_the_tokens_of_the_whole_text(plain, chatty):
    for tokenizer in (plain, chatty):
        prompter = Prompter(tokenizer)
        whole = tokenizer("".join(prompter.text(PROMPT)), add_special_tokens=False)["input_ids"]
        assert [i for i in prompter.encode(PROMPT).ids if i != tokenizer.bos_token_id] == [
            i for i in whole if i != tokenizer.bos_token_id
        ]


def test_chat_template_is_used_where_there_is_one(plain, chatty):
    assert not Prompter(plain).is_chat
    assert Prompter(chatty).is_chat
    assert Prompter(chatty).text(PROMPT).question.endswith("model\n")


def test_model_that_was_not_schooled_in_its_template_is_asked_plainly_also_after_saving(chatty, tmp_path):
    chatty.save_pretrained(tmp_path)
    unschooled = AutoTokenizer.from_pretrained(tmp_path, task_prompt="plain")
    assert not Prompter(unschooled).is_chat
    unschooled.save_pretrained(tmp_path / "again")
    assert not Prompter(AutoTokenizer.from_pretrained(tmp_path / "again")).is_chat


def test_end_of_sequence_is_taught(plain):
    assert Prompter(plain).answer("fox")[-1] == plain.eos_token_id
    assert Prompter(plain).answer("fox", end=False)[-1] != plain.eos_token_id


def test_long_paragraph_is_cut_and_the_question_is_whole(plain):
    prompter = Prompter(plain)
    long = [
        Prompt("Read this.\n" + "A fox ran over it. " * 80 + "\n", f"Question: Who ran {n}?\nAnswer:") for n in range(3)
    ]
    encoded = prompter.encode_all([*long, PROMPT], longest=100, answer_room=10)
    assert all(len(item.ids) <= 90 for item in encoded)
    assert [item.truncated for item in encoded] == [True, True, True, False]
    assert len({item.prefix for item in encoded[:3]}) == 1, "questions of one paragraph still share it"
    assert [prompter.write(list(item.question)) for item in encoded[:3]] == [prompt.question for prompt in long]


def test_cut_of_a_prompt_does_not_depend_on_the_others(plain):
    """One by one and all together must read the same ids, at every length of question and of room."""
    prompter = Prompter(plain)
    text = "Read this.\n" + "A fox ran over it. " * 30 + "\n"
    prompts = [Prompt(text, f"Question: Who {'really ' * n}ran?\nAnswer:") for n in range(12)]
    for longest in (150, 170, 200, 230, 300):
        together = prompter.encode_all([*prompts, PROMPT], longest, answer_room=10)
        assert any(item.truncated for item in together)
        assert all(len(item.ids) <= longest - 10 for item in together)
        for prompt, item in zip([*prompts, PROMPT], together, strict=True):
            assert prompter.encode_all([prompt], longest, answer_room=10) == [item]


def test_prompt_that_fits_is_never_cut(plain):
    prompter = Prompter(plain)
    whole = prompter.encode(PROMPT)
    assert prompter.encode_all([PROMPT], len(whole.ids) + 5, answer_room=5) == [whole]
    assert whole.truncated is False


def test_last_tokens_of_room_are_used_where_there_is_little(plain):
    prompter = Prompter(plain)
    long = Prompt("Read this.\n" + "A fox ran over it. " * 30 + "\n", "Question: Who ran?\nAnswer:")
    question = len(prompter.encode(long).question)
    (item,) = prompter.encode_all([long], question + 20 + 5, answer_room=5)
    assert len(item.prefix) == 20 and item.truncated


def test_question_that_leaves_no_room_is_refused(plain):
    endless = Prompt("Read this.\nA fox ran.\n" * 5, "Question: " + "who ran then " * 100 + "?\nAnswer:")
    with pytest.raises(ValueError, match="question is too long"):
        Prompter(plain).encode_all([endless], longest=64, answer_room=8)


def test_labels_whose_tokens_collide_are_refused(plain):
    with pytest.raises(ValueError, match="colliding"):
        Prompter(plain).labels(("good", "good"))
    with pytest.raises(ValueError, match="colliding"):
        Prompter(plain).labels(("good", "good film"))


def test_line_breaks_are_found_in_the_vocabulary(plain):
    prompter = Prompter(plain)
    assert set(prompter.answer("\n", end=False)) & prompter.line_breaks()
    assert not set(prompter.answer("fox", end=False)) & prompter.line_breaks()
