"""Evaluation benches: the engine and lm-evaluation-harness read the same ids and come to the same answers."""

import json

import pytest
import tiny
import torch
from weight_folders import opened, with_adapter

from llmft_core import files, jobs
from llmft_core.bench import duel, evaluate_squad_v2, evaluate_sst2, harness, questions, shapes
from llmft_core.cli import main
from llmft_core.worker import calls

SMALL = (1, 4)  # batch sizes that are tried on a few samples


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.llama(tmp_path_factory.mktemp("llama"), max_position_embeddings=1024)


@pytest.fixture
def sides_here(monkeypatch):
    """Sides in this process: what is compared is their results, not their time."""
    pytest.importorskip("lm_eval")

    def timed(what, request, is_quick=True):
        answer = json.loads(files.to_json(calls.answer(what, json.loads(files.to_json(request)))))
        if "message" in answer:
            raise ValueError(answer["message"])
        return answer["result"], 1.0, 1

    monkeypatch.setattr(jobs, "timed", timed)
    monkeypatch.setattr(harness, "SIZES", SMALL)


def bench(capfd, name, model, *more):
    assert main(["bench", name, "--model", str(model), "--rounds", "1", "--examples", "6", "--json", *more]) == 0
    return json.loads(capfd.readouterr().out)


@pytest.mark.parametrize("shots", [0, 4])
def test_both_sides_prefer_the_same_labels(sides_here, model, capfd, shots):
    found = bench(capfd, "evaluate-sst2", model, "--shots", str(shots))
    assert found["agreement"] == 1.0 and found["gap"] < 1e-4
    assert found["ours"]["n"] == found["theirs"]["n"] == 6
    assert found["theirs"]["batch_size"] in SMALL
    assert {"torch", "lm_eval"} <= found["theirs"]["versions"].keys()


@pytest.mark.parametrize("is_random", [False, True])
def test_both_sides_write_the_same_answers(sides_here, model, capfd, monkeypatch, is_random):
    monkeypatch.setattr(shapes, "is_random", lambda _: is_random)
    found = bench(capfd, "evaluate-squad_v2", model)
    assert found["agreement"] == 1.0 and found["gap"] < 1e-3
    assert found["request"]["model"] == str(model)
    if is_random:
        assert found["ours"]["tokens_written"] == 6 * evaluate_squad_v2.RANDOM_TOKENS


def test_mini_is_asked_with_what_its_shipped_run_learnt(sides_here, capfd, monkeypatch):
    asked = []
    monkeypatch.setattr(duel, "take_turn", lambda where, request, is_ours=True: asked.append(where) or found)
    found = duel.Turn(1.0, 1, {"answers": ["a"], "logp": [-1.0]}, {}, 1.0, 1)
    assert bench(capfd, "evaluate-squad_v2", "mini")["agreement"] == 1.0
    assert [where.split(":")[1] for where in asked] == ["merged", "trial", "ours", "theirs"]


def test_a_merged_checkpoint_says_what_its_adapter_says(tmp_path):
    """Though the adapter is on embeddings that the head shares."""
    model = tiny.llama(tmp_path / "model")
    learnt = with_adapter(model, tmp_path / "adapter", target_modules=["embed_tokens", "q_proj"])
    evaluate_squad_v2.merged({"model": str(model), "adapter": str(tmp_path / "adapter"), "out": str(tmp_path / "out")})
    ids = torch.arange(3, 20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(opened(tmp_path / "out")(ids).logits, learnt(ids).logits, rtol=1e-4, atol=1e-5)


def test_agreement_and_gap_count_what_differs():
    assert evaluate_sst2.agreement([[-1, -2], [-2, -1]], [[-1, -3], [-1, -2]]) == 0.5
    assert evaluate_sst2.gap([[-1, -2], [-2, -1]], [[-1, -3], [-2, -1]]) == 1
    one, other = ({"answers": ["a", word], "logp": [-1, logp]} for word, logp in (("b", -2), ("c", -4)))
    assert evaluate_squad_v2.agreement(one, other) == 0.5
    assert evaluate_squad_v2.gap(one, other) == 2


def test_shots_stand_between_the_instruction_and_the_question():
    from llmft_core import tasks

    task = tasks.find("sst2")
    asked, shots = questions.examples(task, {"data_dir": None, "examples": 2, "shots": 2})
    prompts = questions.prompts(task, asked, shots)
    assert len(prompts) == 2 and prompts[0].prefix == prompts[1].prefix
    for shot in shots:
        assert f"\n{shot.question}\nSentiment: {shot.answers[0]}\n" in prompts[0].prefix
    assert [prompt.question for prompt in prompts] == [task.prompt(example).question for example in asked]


def test_other_ids_and_cut_prompts_are_refused():
    from llmft_core.engine.prompts import Encoded

    class Other:
        def _encode_pair(self, context, continuation):
            return [1, 2], [3]

    harness.refuse_other_ids(Other(), [("a", "b")], [((1, 2), (3,))])
    with pytest.raises(ValueError, match="into other tokens"):
        harness.refuse_other_ids(Other(), [("a", "b")], [((1, 1, 2), (3,))])
    with pytest.raises(ValueError, match="1 prompts are longer"):
        questions.refuse_cut([Encoded((1,), (2,)), Encoded((1,), (2,), truncated=True)])


def test_a_missing_tool_is_named(monkeypatch, model, capfd):
    monkeypatch.setattr(harness, "NEEDS", ("a-tool-that-nobody-has",))
    assert main(["bench", "evaluate-sst2", "--model", str(model)]) == 2
    assert "requirements-bench.txt" in capfd.readouterr().err
