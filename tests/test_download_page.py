"""The page while a model is downloaded: it says how far it is, it can be called off, nothing is downloaded unasked."""

import fake_hub
import fakes
import pytest
import tiny
from browser import browsing, served
from fake_speaker import FakeSpeaker

from llmft_core import checks, config, files, runs
from llmft_core.ui import ask, try_tab
from llmft_core.ui.choice import Choice
from llmft_core.ui.try_tab import Try

COMING = [{"event": "download", "model": "google/gemma-2-2b-it", "done": n * 10**9, "total": 5 * 10**9} for n in (1, 5)]


class Downloading(FakeSpeaker):
    """Downloads first, then answers."""

    def ask(self, request):
        yield from COMING
        yield from super().ask(request)


def test_the_page_says_what_is_downloaded_and_how_far_it_is(sst2, laid_out):
    waiting, first, whole, last = ask.compare(Downloading(), sst2, {"sentence": "Fine."})
    assert "Downloading Gemma 2 2B it" in first.download and "1.00 of 5.00 GB" in first.download
    assert 'value="20"' in first.download and first.zero_shot is None, "the sides keep what they say"
    assert waiting.download == whole.download == last.download == "" and "93 %" in last.fine_tuned
    tab = laid_out(Try(Downloading(), sst2))
    shown = [tab._said(sst2, one) for one in (waiting, first, last)]
    assert [said[tab.coming].visible for said in shown] == [False, True, False]


def test_a_cancelled_download_leaves_the_page_as_it_was(sst2, laid_out):
    tab = laid_out(Try(Downloading(), sst2))
    said = tab.on_over("sst2", "mini", "sst2-one", {})
    assert not said[tab.coming].visible and "appears here" in said[tab.zero] and said[tab.download] == ""
    assert tab.error not in said, "and what went wrong is still said"
    assert tab.zero not in tab.on_over("sst2", "mini", "sst2-one", {"zero_shot": {}}), "an answer stays"


def test_a_conversation_says_it_too_and_goes_on_after_a_stop(sst2):
    talk = ask.chat(Downloading(), sst2, {}, "Hello")
    assert next(talk)[2] == ""
    error, stopped, note = next(talk)
    assert error == "" and note == "Downloading Gemma 2 2B it: 1.00 of 5.00 GB. Stop cancels it."
    assert try_tab._settled(note) == "" and try_tab._settled("Greedy decoding") != ""
    speaker = FakeSpeaker()
    list(ask.chat(speaker, sst2, stopped, "Hello again"))
    turns = speaker.asked[0]["messages"]["zero_shot"]
    assert [turn["content"] for turn in turns] == ["Hello again"], "what was never answered is not asked again"


def test_nothing_is_downloaded_because_somebody_clicks_into_a_box(monkeypatch):
    speaker, chosen = FakeSpeaker(), Choice("sst2", "llama3.2-1b", None)
    monkeypatch.setattr(checks, "is_here", lambda row: False)
    ask.warm(speaker, chosen)
    assert not speaker.asked
    monkeypatch.setattr(checks, "is_here", lambda row: True)
    ask.warm(speaker, chosen)
    assert speaker.asked
    ask.warm(speaker, Choice("sst2", "/no/such/model", None))


# ---- in a browser --------------------


@pytest.fixture
def home(tmp_path):
    """A runs folder with a run whose base model lies on the Hub."""
    tiny.llama(tmp_path / "tiny")
    folder = fakes.write_run(tmp_path / "runs" / "far")
    settings = config.make(task="sst2", model="owner/tiny")
    files.write_json(folder / "config.json", settings.model_dump())
    tiny.adapter(tmp_path / "tiny", runs.Run(folder).adapter)
    return tmp_path / "runs"


@pytest.mark.browser
@pytest.mark.timeout(600)
def test_a_download_is_seen_cancelled_and_asked_for_again(browser, home, tmp_path):
    with fake_hub.serving("owner/tiny", tmp_path / "tiny") as hub:
        network = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        with served(home, **network) as address, browsing(browser, address) as app:
            page = app.open("run=far", "#side-zero .side")
            page.fill("#sentence textarea", "A good film.")
            assert not [one for one in hub.asked if "resolve" in one], "typing downloads nothing"
            page.click("#compare")
            page.wait_for_selector("#download progress")
            assert "Downloading tiny" in page.inner_text("#download")
            with page.expect_response("**/cancel"):
                page.click("#download-cancel")
            page.wait_for_selector("#download progress", state="detached")
            assert "appears here" in page.inner_text("#side-zero")
            hub.open.set()
            page.click("#compare")
            page.wait_for_selector("#side-tuned .bars .n:not(:empty)")
            assert not [path for path in (tmp_path / "hf").rglob("*.incomplete")]


@pytest.mark.browser
@pytest.mark.timeout(600)
def test_what_cannot_be_had_is_said_in_place(browser, home, tmp_path):
    with fake_hub.serving("owner/tiny", tmp_path / "tiny") as hub:
        hub.gated = True
        network = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        with served(home, **network) as address, browsing(browser, address) as app:
            page = app.open("run=far", "#side-zero .side")
            page.click("#compare")
            page.wait_for_selector("#try-error [role=alert]")
            assert "owner/tiny is gated: accept its licence" in page.inner_text("#try-error")
