"""The real app in a real browser, on the model and the runs that ship: try, train, reload, compare, look."""

import re
import time
from pathlib import Path

import pytest
from browser import Watched, browsing, served

from llmft_core import runs
from llmft_core.ui import TABS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
SMALL = {"train_examples": "48", "eval_examples": "24", "probe_examples": "8", "epochs": "30"}
READY = {
    "try": "#side-zero .side",
    "train": "#facts dl",
    "results": "#metric-table tbody tr",
    "weights": "#cell-facts dd",
    "runs": "#run-table tbody tr",
}
ANSWERED = "#side-tuned .bars .n:not(:empty)"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def address(home):
    with served(home, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1") as where:
        yield where


@pytest.fixture
def app(browser, address):
    with browsing(browser, address) as watched:
        yield watched


def shipped(task: str) -> runs.Run:
    """The finished run of this task that ships; its absence is a failure, not a reason to skip."""
    found = [run for run in runs.all() if run.shipped and run.config.task == task and run.state().kind == "finished"]
    assert found, f"no finished run of {task} ships in {runs.SHIPPED}: the app's first page would be empty"
    return found[0]


def test_the_first_page_opens_with_a_verdict(app: Watched):
    run = shipped("sst2")
    page = app.open()
    said = page.inner_text("#verdict")
    assert re.search(r"(Better|Worse|No clear difference): accuracy [\d.]+ → [\d.]+ %", said), said
    assert page.title().startswith("llmft")
    assert run.metrics()["n"] > 0


def test_both_sides_answer_a_sentence(app: Watched):
    page = app.open(f"task=sst2&run={shipped('sst2').name}", READY["try"])
    page.fill("#sentence textarea", "The soup was cold, but I would go back tomorrow.")
    page.click("#compare")
    page.wait_for_selector(ANSWERED)
    for side in ("zero", "tuned"):
        assert re.search(r"positive\s+\d+ %", page.inner_text(f"#side-{side}"))
    assert "equals a plain load" in page.inner_text("#side-zero")
    assert "Which words moved it" in page.inner_text("#words")
    before = page.inner_text("#side-zero")
    page.click("#try-scale label:nth-of-type(2)")
    page.wait_for_function("text => document.querySelector('#side-zero').innerText !== text", arg=before)
    page.click("#prompt summary")
    assert "Sentiment:" in page.inner_text("#prompt pre")


def test_both_sides_answer_a_question_about_a_paragraph(app: Watched):
    page = app.open(f"task=squad_v2&run={shipped('squad_v2').name}", READY["try"])
    page.wait_for_selector("#chip-0:visible")
    page.click("#chip-0")
    page.wait_for_selector(ANSWERED)
    for side in ("zero", "tuned"):
        assert "P(no answer)" in page.inner_text(f"#side-{side}")
    assert re.search(r"(Right|Wrong) · F1", page.inner_text("#side-tuned"))


def test_a_conversation_shows_text_and_never_html(app: Watched):
    page = app.open(f"task=sst2&run={shipped('sst2').name}", READY["try"])
    page.click("#try-mode label:nth-of-type(2)")
    message = "<img src=http://elsewhere.example/x.png> ![y](http://elsewhere.example/y.png) Hello"
    page.fill("#message textarea", message)
    page.click("#send")
    page.wait_for_selector("#chat-tuned .talk .user")
    page.wait_for_function("document.body.innerText.includes('Greedy decoding')")
    assert page.inner_text("#chat-zero .talk .user") == message
    assert page.locator(".talk img").count() == 0


@pytest.mark.parametrize("task", ["sst2", "squad_v2"])
def test_results_and_weights_of_the_shipped_run(app: Watched, task):
    run = shipped(task)
    page = app.open(f"task={task}&run={run.name}&tab=results", READY["results"])
    first = {"sst2": "Accuracy", "squad_v2": "Exact match"}[task]
    assert first in page.inner_text("#metric-table")
    page.wait_for_selector("#dumbbells .js-plotly-plot .nsewdrag")
    page.click("#flips label:nth-of-type(4)")
    page.wait_for_function("document.querySelector('#items').innerText.length > 0")
    app.tab("weights", READY["weights"])
    page.wait_for_selector("#heat .js-plotly-plot .nsewdrag")
    assert run.name in page.url and "tab=weights" in page.url


def test_a_click_on_the_map_chooses_the_cell(app: Watched):
    page = app.open(f"run={shipped('sst2').name}&tab=weights", READY["weights"])
    page.wait_for_selector("#heat .js-plotly-plot .nsewdrag")
    page.wait_for_function("document.querySelector('#heat .js-plotly-plot').heard")  # somebody listens to its clicks
    before = page.input_value("#cell input")
    box = page.locator("#heat .nsewdrag").first.bounding_box()
    page.mouse.click(box["x"] + 12, box["y"] + 12)
    page.wait_for_function("value => document.querySelector('#cell input').value !== value", arg=before)
    assert page.input_value("#cell input").startswith("Layer 0, ")


def test_a_demo_run_starts_once_moves_survives_a_reload_and_is_compared(app: Watched, home):
    page = app.open("task=sst2&model=mini&tab=train", READY["train"])
    page.click("#more button")
    for name, value in SMALL.items():
        page.fill(f"#set-{name} input", value)
    page.wait_for_function("document.querySelector('#command textarea').value.includes('--epochs 30')")
    page.dblclick("#start")
    page.wait_for_selector("#live progress")
    page.wait_for_function("/Training|Measuring/.test(document.querySelector('#live').innerText)")
    app.reload()
    page.wait_for_selector("#live h2, #live .box")
    moved = _until_over(page)
    assert len(moved) >= 2, f"the page did not move: {moved}"
    assert "Done in" in moved[-1], moved[-1]
    own = [path for path in home.iterdir() if (path / "config.json").exists()]
    assert len(own) == 1, f"a double click started {len(own)} runs"
    page.wait_for_selector("#loss .js-plotly-plot")
    page.click("#open-results")
    page.wait_for_selector(READY["results"])
    assert own[0].name in page.url
    page.wait_for_function("document.querySelector('#verdict').innerText.includes('n = 24')")
    app.tab("runs", READY["runs"])
    assert own[0].name in page.inner_text("#run-table")


def _until_over(page) -> list[str]:
    """What the live part says, each time it changes, until the run is over."""
    said, deadline = [], time.monotonic() + 400
    while time.monotonic() < deadline:
        now = " ".join(page.inner_text("#live").split())
        if not said or now != said[-1]:
            said.append(now)
        if re.search(r"Done in|Stopped|Interrupted|Cancelled", now):
            return said
        page.wait_for_timeout(200)
    return said


def test_what_is_lora_s_own_is_closed_and_emptied_where_every_weight_is_learnt(app: Watched):
    page = app.open("task=sst2&model=mini&tab=train", READY["train"])
    page.click("#more button")
    page.fill("#set-lora_rank textarea, #set-lora_rank input", "8")
    page.wait_for_function("document.querySelector('#command textarea').value.includes('--lora-rank 8')")
    page.click("#set-method input")
    page.click("[role=option]:has-text('Full')")
    page.wait_for_function("!document.querySelector('#command textarea').value.includes('--lora-rank')")
    assert page.locator("#set-lora_rank :disabled").count() == 1
    page.click("#set-method input")
    page.click("[role=option]:has-text('as the preset')")
    page.wait_for_function("!document.querySelector('#set-lora_rank :disabled')")


def test_a_run_is_cancelled_and_deleted_after_a_question(app: Watched, home):
    page = app.open("task=sst2&model=mini&tab=train", READY["train"])
    page.click("#preset label:nth-of-type(2)")
    page.wait_for_function("document.querySelector('#command textarea').value.includes('--preset lora')")
    before = {path.name for path in home.iterdir()}
    page.click("#start")
    page.wait_for_selector("#live progress")
    page.click("#cancel")
    page.wait_for_function("/Stopping|Cancelled/.test(document.querySelector('#live').innerText)")
    page.wait_for_function("/Cancelled/.test(document.querySelector('#live').innerText)", timeout=90_000)
    (name,) = {path.name for path in home.iterdir() if (path / "config.json").exists()} - before
    app.tab("runs", READY["runs"])
    page.click(f'[data-key="{name}"]')
    page.wait_for_function("!document.querySelector('#run-delete').disabled")
    page.click("#run-delete")
    page.click("#run-delete-yes")
    page.wait_for_function("name => !document.querySelector('#run-table').innerText.includes(name)", arg=name)
    assert not (home / name).exists()


def test_choices_stay_in_the_address(app: Watched):
    page = app.open("tab=results", READY["results"])
    page.click("#task input")
    page.get_by_role("option", name="SQuAD v2").click()
    page.wait_for_function("document.querySelector('#metric-table').innerText.includes('Exact match')")
    page.wait_for_function("location.search.includes('task=squad_v2')")
    app.reload()
    page.wait_for_selector(READY["results"])
    page.wait_for_function("document.querySelector('#metric-table').innerText.includes('Exact match')")
    assert page.input_value("#task input") == "SQuAD v2"


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_tab_is_photographed_and_fits_a_phone(browser, address, tmp_path, mode, width):
    """In the light, each tab is come to by its address; in the dark, by a click."""
    with browsing(browser, address, width) as app:
        for task in ("sst2", "squad_v2"):
            for tab in TABS:
                if mode == "light" or tab == TABS[0]:
                    page = app.open(f"__theme={mode}&task={task}&run={shipped(task).name}&tab={tab}", READY[tab])
                else:
                    app.tab(tab, READY[tab])
                app.settle()
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{tab} is {wide} wide on a screen of {width}"
                page.screenshot(path=tmp_path / f"{task}-{tab}-{width}-{mode}.png", full_page=True)
    assert len(list(tmp_path.glob("*.png"))) == 2 * len(TABS)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_verdict_stays_over_the_labels_that_scroll_under_it(browser, address, width):
    with browsing(browser, address, width, 320) as watched:
        page = watched.open("task=squad_v2&tab=try", "#paragraph textarea")
        watched.settle()
        covers = page.evaluate("""() => {
          const label = document.querySelector('#paragraph span[data-testid="block-info"]');
          window.scrollBy(0, label.getBoundingClientRect().top - 12);
          const box = label.getBoundingClientRect();
          const seen = document.elementFromPoint(box.left + 20, box.top + box.height / 2);
          return box.top < 20 && Boolean(seen.closest('#verdict'));
        }""")
        assert covers
