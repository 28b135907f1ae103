"""Commands that load a model, with real torch on tiny ones: in a child process, or here where that is no matter."""

import json

import pytest
import tiny

from llmft_core import files, jobs, statistics
from llmft_core.cli import main
from llmft_core.worker import calls


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def called_here(monkeypatch):
    """What a child would answer, without the seconds in which it imports torch."""

    def call(what, request):
        return json.loads(files.to_json(calls.answer(what, json.loads(files.to_json(request)))["result"]))

    monkeypatch.setattr(jobs, "call", call)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("idx,sentence,label\n" + "".join(f"{i},a film number {i},{i % 2}\n" for i in range(8)))
    return path


def test_evaluate_prints_one_object_and_nothing_else(model, rows, capfd):
    arguments = ["evaluate", "--model_path", model, "--task", "sst2", "--data-file", rows, "--examples", "6", "--json"]
    assert main([str(argument) for argument in arguments]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert found["task"] == "sst2" and found["n"] == 6 and found["model"] == str(model)
    assert {"accuracy", "precision", "recall", "f1", "f1_macro"} <= set(found["metrics"])
    assert all(0 <= value <= 1 for value in found["metrics"].values()) and found["seconds"] > 0
    right = round(6 * found["metrics"]["accuracy"])
    assert found["intervals"]["accuracy"] == list(statistics.wilson(right, 6))
    assert "Traceback" not in err


def test_weights_between_two_folders(model, tmp_path, capfd):
    other = tiny.llama(tmp_path / "same")
    assert main(["weights", "--base", str(model), "--tuned", str(other), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["tensors"] == len(found["rows"]) > 10 and found["tensors_changed"] == 0


def test_folders_that_do_not_belong_together_are_told(model, tmp_path, capfd):
    other = tiny.llama(tmp_path / "wider", hidden_size=64)
    assert main(["weights", "--base", str(model), "--tuned", str(other)]) in (1, 2)
    out, err = capfd.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1 and "Traceback" not in err


def test_bits_per_byte_are_measured_on_a_text(called_here, tmp_path, capfd):
    text = tmp_path / "text.txt"
    text.write_text("The heron waited at the mill, and the mill waited for the rain.\n" * 3)
    assert main(["bits-per-byte", "mini", str(text), "--json"]) == 0
    assert 0.5 < json.loads(capfd.readouterr().out)["bits_per_byte"] < 8
    assert main(["bits-per-byte", "mini", str(tmp_path / "none.txt")]) == 2


@pytest.mark.parametrize("task", ["sst2", "squad_v2"])
def test_bench_compares_the_ways_and_their_results_agree(called_here, model, task, capfd):
    arguments = [
        "bench",
        "packing",
        "--model",
        str(model),
        "--task",
        task,
        "--examples",
        "12",
        "--rounds",
        "1",
        "--json",
    ]
    assert main(arguments) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["evaluate"]["agreement"] == 1.0
    assert found["train"]["agreement"] < 1e-4
    assert set(found["train"]["examples_per_second"]) == {"packed", "padded", "one_by_one"}
    assert main(["bench", "nothing"]) == 2
    assert main([argument for argument in arguments if argument != "--json"]) == 0
    assert f"{task} from" in capfd.readouterr().out


def test_a_bench_refuses_what_it_does_not_know(capfd):
    assert main(["bench", "weights", "--shots", "4"]) == 2
    assert "has no --shots" in capfd.readouterr().err


def test_exam_says_what_a_model_finds_in_a_text(called_here, tmp_path, capfd):
    text = tmp_path / "text.txt"
    names = ("Voss", "Tarn", "Brandt", "Loew", "Rask", "Aske", "Dorn", "Fenn", "Gale", "Holt", "Marr", "Nye", "Pell")
    text.write_text(
        "\n".join(
            f"The bridge of {name} was built in {1800 + number} by Anna {name} and her brothers from Orm. "
            f"It carries about {number + 20} carts of barley every day across the river {name} in the wet season. "
            "The old ferry was sold to a merchant who kept it as a floating shop for many years."
            for number, name in enumerate(names)
        )
    )
    assert main(["exam", "mini", str(text), "--questions", "4", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["quoted"]["n"] == 4 and found["drills"]["right"] > 0.9, "mini copies"
    assert main(["exam", "mini", str(text), "--questions", "4"]) == 0
    assert "words left out" in capfd.readouterr().out
    assert main(["exam", "mini", str(tmp_path / "none.txt")]) == 2
