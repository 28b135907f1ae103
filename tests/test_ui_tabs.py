"""The tabs without a browser: Train, Results, Weights and Runs answer their handlers on made-up runs."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fakes
import gradio as gr
import pytest

from llmft_core import charts, config, events, frames, runs, tasks
from llmft_core.ui import before, live, machine, settings, tables, train_tab
from llmft_core.ui.choice import Choice
from llmft_core.ui.results_tab import Results
from llmft_core.ui.runs_tab import Runs
from llmft_core.ui.train_tab import Train, start_once, status
from llmft_core.ui.weights_tab import Weights

HOUSE = Path(__file__).resolve().parent.parent


# ---- Train --------------------


def test_every_setting_of_a_run_has_a_control_but_the_paths():
    with gr.Blocks():
        made = settings.controls()
    left = set(config.RunConfig.model_fields) - set(made)
    assert left == {"model", "task", "preset", "data_dir", "data_file"}
    assert all(control.info for control in made.values())


def test_an_empty_form_is_the_preset_and_a_filled_one_its_flags():
    values = dict.fromkeys(settings.NAMES, "")
    assert settings.make("sst2", "mini", "demo", values) == config.make(task="sst2", model="mini", preset="demo")
    values |= {"epochs": "2", "train_examples": "1,500", "method": "full"}
    made = settings.make("sst2", "mini", "demo", values)
    assert (made.epochs, made.train_examples, made.method) == (2.0, 1500, "full")
    line = settings.command("sst2", "mini", "demo", values)
    assert "--epochs 2" in line and "--train-examples 1500" in line and "--method full" in line
    assert max(map(len, line.splitlines())) <= settings.WIDTH + 2


def test_a_switch_is_a_choice_of_yes_and_no():
    assert settings.options("lora_embeddings") == ("yes", "no")
    assert settings.make("sst2", "mini", "demo", {"lora_embeddings": "no"}).lora_embeddings is False
    line = settings.command("sst2", "mini", "demo", {"lora_embeddings": "no"})
    assert line.endswith("--no-lora-embeddings")


def test_settings_of_lora_are_closed_to_a_run_without_it():
    for preset, method, is_open in (("demo", "", True), ("demo", "full", False), ("coursework", "", False)):
        hints = settings.hints(preset, "sst2", "mini", method)
        assert {name: hints[name].interactive for name in ("lora_rank", "epochs")} == {
            "lora_rank": is_open,
            "epochs": True,
        }


def test_an_empty_learning_rate_says_what_suits_the_method():
    said = [settings.hints("demo", "sst2", "mini", method)["learning_rate"].placeholder for method in ("", "full")]
    assert said == ["4e-3", "1e-3"]


def test_a_wrong_setting_is_named_and_nothing_is_started(runs_dir, laid_out):
    tab = laid_out(Train())
    values = ["0" if name == "batch_size" else "" for name in settings.NAMES]
    move = tab.on_start("sst2", "mini", "demo", *values)
    assert "--batch-size" in move.more[tab.why]
    assert not [run for run in runs.all() if not run.shipped]


def test_a_double_click_starts_one_run(runs_dir, monkeypatch):
    monkeypatch.setenv("LLMFT_RECIPE", "toy_recipe")
    monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))
    wanted = config.make(task="sst2", preset="demo", seed=7)
    first, second = start_once(wanted), start_once(wanted)
    assert first == second
    assert len(list(runs_dir.glob("sst2-*"))) == 1


def test_a_public_space_does_not_train_for_visitors(runs_dir, sst2, monkeypatch, laid_out):
    monkeypatch.setenv("SPACE_ID", "someone/llmft")
    tab, shelf = laid_out(Train()), laid_out(Runs())
    move = tab.on_start("sst2", "mini", "demo", *[""] * len(settings.NAMES))
    assert "owner" in move.more[tab.why]
    assert "owner" in shelf.on_delete("sst2-one").more[shelf.error]
    assert sst2.run.path.exists()
    monkeypatch.setenv("LLMFT_ALLOW_TRAINING", "1")
    assert machine.why_no_training() == ""


def test_progress_counts_down_and_the_bar_never_goes_back():
    shares = []
    said = fakes.history("sst2", "finished")[:-1]
    for end in range(1, len(said)):
        run = fakes.run("sst2", state="running")
        run.said = said[:end]
        now = live.progress(run, said[end - 1].at)
        shares.append(now.share)
    assert shares == sorted(shares) and shares[-1] > 0.7
    run = fakes.run("sst2", state="running")
    assert 0 < live.progress(run, run.said[-1].at).left < 60


@pytest.mark.parametrize("since", [0, 900])
def test_time_that_is_left_counts_the_steps_of_this_session_only(since):
    """One step takes one second: whatever an earlier session did, as many seconds are left as steps."""
    run = fakes.run("sst2", state="running")
    old = [events.Started(1, at=0.0), events.Stage("training", at=1.0), events.Step(900, 1000, 1.0, 0.1, at=2.0)]
    run.said = [*(old if since else ()), events.Started(2, at=100.0), events.Stage("training", at=100.0)]
    for step in range(since + 1, since + 51):
        run.said.append(events.Step(step, 1000, 1.0, 0.1, since=since, at=100.0 + step - since))
    now = live.progress(run, run.said[-1].at)
    assert now.left == pytest.approx(1000 - (since + 50))
    assert f"step {since + 50} of 1,000" in now.facts


def test_terminal_forgets_the_pace_of_an_earlier_session_and_says_where_it_goes_on(capsys):
    from llmft_core.cli.follow import Lines

    lines, shown = Lines(), []
    lines.progress = lambda text, is_last: shown.append(text)
    lines.show(events.Step(900, 1000, 1.0, 0.1, at=0.0))
    lines.show(events.Started(2, at=5000.0))
    for step in (910, 920):
        lines.show(events.Step(step, 1000, 1.0, 0.1, since=900, at=5000.0 + step - 900))
    assert shown[-1].endswith("1:20 left")
    assert capsys.readouterr().err == "Going on after step 900\n"


@pytest.mark.parametrize(
    ("state", "says"), [("failed", "Stopped at step 20: out of memory"), ("cancelled", "at step 20")]
)
def test_how_a_run_ended_is_said_in_a_sentence(runs_dir, state, says):
    run = runs.Run(fakes.write_run(runs_dir / "one", "sst2", state=state))
    assert says in status(run)


def test_curves_are_drawn_anew_when_the_run_has_said_something_else(runs_dir):
    run = runs.Run(fakes.write_run(runs_dir / "one", "sst2"))
    said = run.history()
    drawn = [train_tab._curves(run, len(said), said[-1].at + later) for later in (0, 0, 60)]
    assert drawn[0] is drawn[1] and drawn[0] is not drawn[2], "made again under the same name, it says as much later"
    assert drawn[0].loss.plot == charts.loss_curve(frames.learning_curve(run)).to_json()


def test_many_who_look_at_once_have_the_curves_drawn_once(runs_dir, laid_out, monkeypatch):
    run, tab, drawn = runs.Run(fakes.write_run(runs_dir / "two", "sst2")), laid_out(Train()), []
    read = frames.learning_curve
    monkeypatch.setattr(frames, "learning_curve", lambda run: drawn.append(run) or time.sleep(0.1) or read(run))
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: tab.pulse(Choice("sst2", "mini", run), "two"), range(4)))
    assert drawn == [run] and len({one[tab.loss].plot for one in said}) == 1


@pytest.mark.parametrize("state", ["finished", "failed", "cancelled", "running", "queued"])
def test_train_names_the_run_that_its_buttons_act_on(runs_dir, state):
    run = runs.Run(fakes.write_run(runs_dir / "my-idea", "sst2", state=state))
    assert status(run).count("my-idea") == 1


def test_time_is_judged_by_earlier_runs_of_the_kind(sst2):
    said = dict(before.facts(config.make(task="sst2", preset="demo"), [sst2.run]))
    assert said["Time"].startswith("about 1 min") and "4,000 to learn" in said["Examples"]
    assert "0.4 %" in said["Leakage"]
    unknown = dict(before.facts(config.make(task="sst2", preset="demo", model="llama3.2-1b"), [sst2.run]))
    assert "not known" in unknown["Time"]


def test_leakage_ahead_is_that_of_a_run_on_about_as_many_examples(runs_dir):
    every = []
    for learnt in (60_000, 4000, 500):
        path = fakes.write_run(runs_dir / f"of-{learnt}", "sst2") / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"train_examples": learnt}))
        every.append(runs.Run(path.parent))
        told, share = path.with_name("metrics.json"), learnt / 100_000
        metrics = json.loads(told.read_text())
        source = {"source": "samples" if learnt == 4000 else "hub"}
        told.write_text(json.dumps(metrics | source | {"leakage": metrics["leakage"] | {"share": share}}))
    demo, fewer = (before.leakage(config.make(task="sst2", train_examples=n), every) for n in (None, 600))
    assert demo.startswith("0.5 %"), "what our samples share says nothing about the dataset"
    assert fewer.startswith("0.5 %") and "a run on 500 examples" in fewer
    most = before.leakage(config.make(task="sst2", train_examples=0), every)
    assert most.startswith("60.0 %") and "a run on 60,000 examples" in most
    assert before.leakage(config.make(task="sst2", split="grouped"), every) == ""


@pytest.mark.parametrize(("seconds", "says"), [(7, "10 s"), (70, "1 min 10 s"), (720, "12 min"), (5400, "1 h 30 min")])
def test_durations_ahead_are_rounded(seconds, says):
    assert before.about(seconds) == f"about {says}"


# ---- Results, Weights, Runs --------------------


def test_results_show_the_courseworks_table_of_each_task(sst2, squad, laid_out):
    tab = laid_out(Results())
    said = tab.draw(sst2, None, "")
    for name in ("Accuracy", "Precision", "Recall", "F1"):
        assert name in said[tab.table]
    said = tab.draw(squad, None, "")
    for name in ("Exact match", "F1", "BLEU", "METEOR", "ROUGE-1", "ROUGE-L"):
        assert name in said[tab.table]
    assert "worse" in said[tab.table], "unanswerable questions got worse in this fake"
    assert "400 questions" in said[tab.caption] and "seed 1" in said[tab.caption]


def test_the_item_list_follows_the_box_and_the_search(sst2, laid_out):
    tab = laid_out(Results())
    every = tab.on_list("sst2", "mini", "sst2-one", "fixed", "")
    assert every.count("<tr>") > 2
    assert "Nothing here" in tab.on_list("sst2", "mini", "sst2-one", "fixed", "no such letters")


def test_without_a_result_the_page_says_what_to_do(laid_out):
    tab, weights = laid_out(Results()), laid_out(Weights())
    nobody = Choice("sst2", "mini", None)
    assert "Nothing to compare yet" in tab.draw(nobody, None, "")[tab.empty]
    assert "No weights to compare yet" in weights.draw(nobody, None)[weights.empty]


def test_the_largest_cell_is_chosen_until_somebody_chooses(sst2, laid_out):
    tab = laid_out(Weights())
    said = tab.draw(sst2, None)
    assert said[tab.cell].value.startswith("5|")
    assert tab.draw(sst2, "0|q_proj")[tab.cell].value == "0|q_proj"
    assert tab.draw(sst2, "99|nothing")[tab.cell].value.startswith("5|")
    assert "5,243,904" in said[tab.numbers]


def test_nothing_changed_is_a_warning(runs_dir, sst2, laid_out):
    table = sst2.run.weights().assign(change_norm=0.0, relative_change=0.0)
    table.to_parquet(sst2.run.path / "weights.parquet")
    tab = laid_out(Weights())
    assert "Nothing changed" in tab.draw(sst2, None)[tab.still]


def test_damaged_weights_are_called_damaged_and_not_to_be_resumed(sst2, laid_out):
    (sst2.run.path / "weights.parquet").write_bytes(b"no table")
    tab = laid_out(Weights())
    said = tab.draw(sst2, None)[tab.empty]
    assert "weights.parquet is damaged (" in said and "delete the run and make it again" in said
    assert "Resume" not in said


@pytest.mark.parametrize(("state", "can"), [("finished", False), ("running", False), ("cancelled", True)])
def test_weights_offer_to_resume_only_what_can_be_resumed(runs_dir, laid_out, monkeypatch, state, can):
    run, tab = runs.Run(fakes.write_run(runs_dir / "r", state=state)), laid_out(Weights())
    (run.path / "weights.parquet").unlink(missing_ok=True)
    monkeypatch.setattr(runs.Run, "is_held", lambda _: state == "running")
    assert ("Resume" in tab.draw(Choice("sst2", "mini", run), None)[tab.empty]) is can


def test_only_a_known_run_is_deleted(runs_dir, sst2, laid_out):
    tab = laid_out(Runs())
    for name in ("../sst2-one", "/etc", "", None, "nobody"):
        assert "Choose a run" in tab.on_delete(name).more[tab.error]
    assert tab.on_delete("sst2-one").more is None
    assert not sst2.run.path.exists()


def test_a_damaged_run_is_listed_and_breaks_nothing(runs_dir, sst2, laid_out):
    (runs_dir / "hurt").mkdir()
    (runs_dir / "hurt" / "config.json").write_text("{")
    tab = laid_out(Runs())
    said = tab.draw(sst2, "hurt", "")
    assert "hurt" in said[tab.table] and "failed: damaged" in said[tab.table]


def test_runs_are_found_by_their_letters(runs_dir, sst2, squad, laid_out):
    tab = laid_out(Runs())
    assert "squad-one" not in tab.on_search("", "SST2")[tab.table]
    assert "No run" in tab.on_search("", "zzz")[tab.table]


def test_nothing_can_be_done_with_a_run_that_the_search_hides(runs_dir, sst2, squad, laid_out):
    tab = laid_out(Runs())
    shown, hidden = (tab.on_search("squad-one", letters) for letters in ("squad", "SST2"))
    assert shown[tab.picked] == "squad-one" and shown[tab.delete].interactive and shown[tab.open].interactive
    assert hidden[tab.picked] == "" and not hidden[tab.delete].interactive and not hidden[tab.open].interactive


@pytest.mark.parametrize(("task", "name"), [("sst2", "Margin change"), ("squad_v2", "F1 change")])
def test_a_column_of_numbers_has_its_head_over_them(task, name):
    from llmft_core import frames

    run = fakes.run(task)
    shown = tables.item_list(frames.item_table(run, {}, "fixed"), tasks.find(task), has_texts=False)
    assert f"class=n>{name}</th>" in shown and shown.count("class=n>") == 1 and '<td class="n">' in shown


def test_tables_say_where_the_texts_are_when_they_are_not_here(sst2):
    from llmft_core import frames

    shown = tables.item_list(frames.item_table(sst2.run, {}, "fixed"), tasks.find("sst2"), has_texts=False)
    assert "not on this machine" in shown and "<button" not in shown
