"""Pretraining from text gives an ordinary Hub folder, goes on after a break, and keeps documents apart."""

import json
import lzma
import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmft_core.engine import pretrain
from llmft_core.engine.pretraining import corpus, rows

TEXT = "<|doc|>\n".join(
    f"The {animal} lives by the {place}. Every morning the {animal} walks to the {place} and drinks.\n"
    for animal in ("fox", "hare", "heron", "otter", "owl")
    for place in ("river", "lake", "mill", "bridge")
)
MILLS = " ".join(f"The mill number {i} of Orm was built by Anna Voss for the carts of the valley." for i in range(90))
SMALL = dict(
    vocabulary=300, hidden=32, intermediate=64, layers=1, heads=2, key_value_heads=1, context=64, block=32, batch_size=2
)


def recipe(**changes):
    return pretrain.Recipe(**(SMALL | dict(steps=8, save_every=4) | changes))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "animals.txt.xz"
    path.write_bytes(lzma.compress(TEXT.encode()))
    return path


def test_result_loads_like_any_model_from_the_hub(tmp_path, text):
    out = pretrain.pretrain([text], tmp_path / "model", recipe())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.config.architectures == ["LlamaForCausalLM"] and model.dtype == torch.bfloat16
    assert tokenizer("The fox")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.decode(tokenizer("Über 東京 fox\n")["input_ids"], skip_special_tokens=True) == "Über 東京 fox\n"
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|bos|><|user|>Hi<|assistant|>"
    assert json.loads((out / "pretraining.json").read_text())["text"] == ["animals.txt.xz"]


def test_a_model_is_written_with_as_many_bits_as_asked_for(tmp_path, text):
    whole, few = (
        load_file(pretrain.pretrain([text], tmp_path / str(bits), recipe(significant_bits=bits)) / "model.safetensors")
        for bits in (8, 3)
    )
    for name, exact in whole.items():
        exact, rounded = exact.float(), few[name].float()
        if exact.dim() == 2:
            mantissa = torch.frexp(rounded).mantissa * 8
            assert mantissa.equal(mantissa.round()) and not exact.equal(rounded)
            assert ((exact - rounded).abs() <= exact.abs() / 8).all()
        else:
            assert exact.equal(rounded)
    with pytest.raises(ValueError, match="give 2 to 8"):
        pretrain.pretrain([text], tmp_path / "none", recipe(significant_bits=1))


def test_every_step_looks_whether_others_want_its_cores(tmp_path, text, monkeypatch):
    looks = []
    monkeypatch.setattr(pretrain.threads, "fit", lambda: looks.append("look"))
    out = pretrain.pretrain([text], tmp_path / "model", recipe())
    assert len(looks) == recipe().steps
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    pretrain.bits_per_byte(model.float(), tokenizer, TEXT[:500])
    assert len(looks) > recipe().steps


def test_learning_lowers_bits_per_byte(tmp_path, text):
    def measured(folder):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        return pretrain.bits_per_byte(model.float(), tokenizer, TEXT[:500])

    little = measured(pretrain.pretrain([text], tmp_path / "little", recipe(steps=1)))
    more = measured(pretrain.pretrain([text], tmp_path / "more", recipe(steps=30, learning_rate=1e-2)))
    assert more < little * 0.9


def test_resume_goes_on_from_the_checkpoint(tmp_path, text):
    whole = pretrain.pretrain([text], tmp_path / "whole", recipe(decay=0.25))
    half = tmp_path / "half"
    pretrain.pretrain([text], half, recipe(decay=0.25))
    shutil.rmtree(half / "checkpoints" / "checkpoint-8")
    before = (half / "checkpoints" / "checkpoint-4" / "trainer_state.json").stat().st_mtime_ns
    pretrain.pretrain([text], half, recipe(decay=0.25), resume=True)
    after = (half / "checkpoints" / "checkpoint-4" / "trainer_state.json").stat().st_mtime_ns
    assert after == before, "the first four steps were taken again"
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (half, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_pretraining_goes_on_for_longer_than_was_planned(tmp_path, text):
    out = tmp_path / "model"
    pretrain.pretrain([text], out, recipe(steps=4))
    pretrain.pretrain([text], out, recipe(steps=8), resume=True)
    assert (out / "checkpoints" / "checkpoint-8").exists()


def test_another_schooling_starts_from_the_weights_of_the_first(tmp_path, text):
    first = pretrain.pretrain([text], tmp_path / "first", recipe(steps=30, learning_rate=1e-2))
    second = pretrain.pretrain([text], tmp_path / "second", recipe(steps=1, learning_rate=1e-6), start_from=first)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (second, first))
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=2e-2, atol=1e-3)
    assert (second / "tokenizer.json").read_text() == (first / "tokenizer.json").read_text()


def test_a_schooling_goes_on_with_the_practice_where_the_first_ended(tmp_path):
    path, sizes = tmp_path / "mills.txt", dict(vocabulary=600, context=256, block=256, steps=4)
    path.write_text(MILLS)
    first = pretrain.pretrain([path], tmp_path / "first", recipe(**sizes))
    assert pretrain.practised_by(tmp_path) == 0
    practised = pretrain.practised_by(first)
    assert practised == json.loads((first / "pretraining.json").read_text())["practised"] > 0
    second = pretrain.pretrain([path], tmp_path / "second", recipe(**sizes), start_from=first)
    assert pretrain.practised_by(second) > practised


def test_a_model_that_did_not_note_its_practice_had_its_share_of_the_tokens(tmp_path):
    (tmp_path / "pretraining.json").write_text('{"tokens": 1000, "exercises": 0.6}')
    assert pretrain.practised_by(tmp_path) == 600


def test_a_resumed_schooling_needs_no_word_of_what_it_started_from(tmp_path):
    path, sizes = tmp_path / "mills.txt", dict(vocabulary=600, context=256, block=256, steps=4, save_every=2)
    path.write_text(MILLS)
    first = pretrain.pretrain([path], tmp_path / "first", recipe(**sizes))
    whole = pretrain.pretrain([path], tmp_path / "whole", recipe(**sizes), start_from=first)
    half = tmp_path / "half"
    pretrain.pretrain([path], half, recipe(**sizes), start_from=first)
    shutil.rmtree(half / "checkpoints" / "checkpoint-4")
    pretrain.pretrain([path], half, recipe(**sizes), resume=True)
    assert pretrain.practised_by(half) == pretrain.practised_by(whole)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (half, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_rows_that_are_computed_apart_count_as_one_step(tmp_path, text, monkeypatch, capsys):
    def loss(name, at_once):
        monkeypatch.setattr(pretrain, "ROWS_AT_ONCE", at_once)
        pretrain.pretrain([text], tmp_path / name, recipe(batch_size=4, steps=3))
        return json.loads(capsys.readouterr().out.splitlines()[-1])["train_loss"]

    assert loss("apart", 1) == pytest.approx(loss("together", 4), rel=0.01)


@pytest.mark.parametrize(("batch_size", "at_once"), [(20, 4), (9, 3), (6, 3), (7, 1), (1, 1)])
def test_a_step_is_cut_into_equal_passes(batch_size, at_once):
    assert pretrain.rows_at_once(batch_size) == at_once


def test_every_attention_is_taught_the_same(tmp_path, text):
    out = pretrain.pretrain([text], tmp_path / "model", recipe())
    tokenizer = AutoTokenizer.from_pretrained(out)
    pieces = [rows.plain(tokenizer(words)["input_ids"]) for words in ("The fox drinks.", "Owls live by the mill.")]
    batch = rows.collate(rows.pack(iter([]), iter(pieces * 9), 32, 2, 0.1))
    losses = {}
    for attention in ("sdpa", "eager"):
        model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation=attention)
        args = pretrain.arguments(recipe(), tmp_path / attention)
        trainer = pretrain.WeightedTrainer(model=model, args=args, is_compiled=False)
        losses[attention] = trainer.compute_loss(trainer.model, dict(batch)).cpu()
    torch.testing.assert_close(losses["eager"], losses["sdpa"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU keeps sdpa in any case")
@pytest.mark.parametrize(("is_small", "learnt_with"), [(True, "eager"), (False, "sdpa")])
def test_a_model_too_large_for_plain_attention_keeps_its_own(tmp_path, text, monkeypatch, is_small, learnt_with):
    seen, loss = set(), pretrain.weighted_loss

    def heard(model, **inputs):
        seen.add(model.config._attn_implementation)
        return loss(model, **inputs)

    monkeypatch.setattr(pretrain, "weighted_loss", heard)
    monkeypatch.setattr(pretrain.load, "has_bf16", lambda device: True)
    monkeypatch.setattr(pretrain.attention, "keeps_little", lambda config, pairs: is_small)
    pretrain.pretrain([text], tmp_path / "model", recipe(steps=1))
    assert seen == {learnt_with}


def test_a_compiled_loss_is_asked_for(tmp_path, text, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda loss: asked.append(loss) or loss)
    pretrain.pretrain([text], tmp_path / "plain", recipe(steps=1))
    assert not asked
    pretrain.pretrain([text], tmp_path / "compiled", recipe(steps=1, compile=True))
    assert asked == [pretrain.weighted_loss]


def test_only_a_llama_is_started_from(tmp_path, text):
    tiny.other("gpt2", tmp_path / "other")
    with pytest.raises(ValueError, match="not a Llama"):
        pretrain.pretrain([text], tmp_path / "model", recipe(), start_from=tmp_path / "other")


@pytest.mark.parametrize("content", ["{", "[]", '[["Hi"]]', '[[{"role": "user"}]]'])
def test_chats_that_are_none_are_named_before_anything_is_made(tmp_path, text, content):
    (tmp_path / "chats.json").write_text(content)
    with pytest.raises(ValueError, match="chats.json: holds no conversations"):
        pretrain.pretrain([text], tmp_path / "model", recipe(), chats=tmp_path / "chats.json")
    assert not (tmp_path / "model").exists()


def test_pretraining_does_without_exercises_that_fit_no_block(tmp_path):
    path = tmp_path / "mills.txt"
    path.write_text(MILLS)
    out = pretrain.pretrain([path], tmp_path / "model", recipe(block=32, context=32))
    assert (out / "model.safetensors").exists()


def test_overlap_is_found_in_either_spelling_of_a_contraction():
    cut = "it is n't that the story does n't move , it is that we do n't care ."
    plain = "It isn't that the story doesn't move, it is that we don't care."
    assert corpus.grams(cut) == corpus.grams(plain) and corpus.grams(cut)


def test_documents_with_evaluation_text_are_left_out(tmp_path, text):
    held_out = corpus.grams("Every morning the fox walks to the river and drinks. " * 2)
    out = pretrain.pretrain([text], tmp_path / "model", recipe(), held_out=held_out)
    about = json.loads((out / "pretraining.json").read_text())
    assert (about["documents"], about["left_out"]) == (20, 0)  # no document says it twice
    held_out = corpus.grams("fox lives by the river. Every morning the fox walks to the river and drinks.")
    out = pretrain.pretrain([text], tmp_path / "other", recipe(), held_out=held_out)
    assert json.loads((out / "pretraining.json").read_text())["left_out"] == 1


def test_bits_per_byte_of_a_uniform_model_is_the_log_of_its_vocabulary(tmp_path, text):
    out = pretrain.pretrain([text], tmp_path / "model", recipe(steps=1))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out).float(), AutoTokenizer.from_pretrained(out)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    sample = TEXT[:400]
    tokens = len(tokenizer(sample, add_special_tokens=False)["input_ids"])
    expected = tokens * torch.log2(torch.tensor(float(len(tokenizer)))) / len(sample.encode())
    assert pretrain.bits_per_byte(model, tokenizer, sample) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such text file"), (b"", "holds no text"), (b"\xff\xfe\x00\x01" * 9, "not UTF-8 text")],
)
def test_text_that_cannot_be_read_is_named(tmp_path, content, words):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        pretrain.pretrain([path], tmp_path / "model", recipe())
    assert not (tmp_path / "model").exists()


def test_text_that_was_cut_off_is_named(tmp_path):
    path = tmp_path / "text.txt.xz"
    path.write_bytes(lzma.compress(TEXT.encode())[:-20])
    with pytest.raises(ValueError, match="cut off"):
        pretrain.pretrain([path], tmp_path / "model", recipe())


def test_overlap_counts_the_documents_that_hold_evaluation_text(tmp_path, text):
    sentence = "the otter lives by the mill . every morning the otter walks to the mill"
    passage = "Nobody in the village knew who had painted the little boat blue and red that night."
    files = {
        "sst2": {"idx": 0, "sentence": sentence, "label": 1},
        "squad_v2": {"id": "a", "title": "", "context": passage, "question": "Who?", "answers": {"text": []}},
    }
    for task, row in files.items():
        (tmp_path / task).mkdir()
        (tmp_path / task / "validation.jsonl").write_text(json.dumps(row) + "\n")
    assert corpus.overlap([text], tmp_path) == {"animals.txt.xz": {"documents": 20, "shared": 1}}
