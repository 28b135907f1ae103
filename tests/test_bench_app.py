"""The bench of the app: a page view is all that the page needs, events answer, a server ends with its block."""

import threading

import pytest
from patience import until

from llmft_core.bench import app
from llmft_core.bench.visitors import Site, Visitor, together
from llmft_core.cli import printing
from llmft_core.jobs import servers


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with servers.serve_app(tmp_path_factory.mktemp("runs"), HF_HUB_OFFLINE="1") as server:
        assert app._started(server)["torch"] in (False, None)
        yield Site.read(server.address)


def test_a_page_view_holds_the_scripts_of_the_components_on_the_page(site):
    kinds = {one["type"] for one in site.config["components"]}
    assert {"tabs", "dropdown", "button", "html"} <= kinds
    assert site.paths[0] == "/"
    assert sum(path.endswith(".js") for path in site.paths) > len(kinds)
    assert sum(path.endswith(".css") for path in site.paths) > 2
    assert len(together(site, 3, Visitor.load)) == 3


def test_a_look_of_an_open_page_is_answered(site):
    event = site.event(site.component("timer", "type"), "tick")
    data = site.values(event, {site.component("open-tab"): "train"})
    visitor = Visitor(site)
    *_, last = visitor.fire(event, data)
    assert event["queue"] is False and visitor.line.sock is None, "no line is left open until the server ends it"
    assert last["msg"] == "process_completed" and last["success"]
    assert len(last["output"]["data"]) == len(event["outputs"])


def test_many_watchers_look_more_seldom(site):
    watchers = [app.Watcher(Visitor(site), "mini", threading.Event()) for _ in range(12)]
    for one in (*watchers, watchers[0]):
        one.look()
    assert watchers[0].held[watchers[0].timer] == 10.0


def test_a_watcher_that_is_not_answered_says_so(site):
    over = threading.Event()
    watcher = app.Watcher(Visitor(site), "mini", over)
    watcher.held[watcher.timer] = 0.01
    watcher.event = watcher.event | {"id": 10**6}
    watcher.run()
    assert isinstance(watcher.failed, OSError)


def test_people_can_read_the_report(capfd):
    crowd = {str(n): {"p50": 0.1, "p95": 0.2, "server_cpu_seconds": None} for n in app.VISITORS}
    watched = {"watchers": 20, "seconds": {"alone": [10.0], "watched": [10.5]}, "slowdown": 0.05}
    start = [
        {"seconds": 2.0, "resident_mib": 180, "torch": False},
        {"seconds": 1.5, "resident_mib": None, "torch": None},
    ]
    tokens = {"cold": 4.0, "warm": 0.1}
    printing.table(*app.table({"start": start, "page": crowd, "try": crowd, "first_token": tokens, "watched": watched}))
    said = capfd.readouterr().out
    assert "180" in said and "slowed by 5.0%" in said and "try, 50 at once" in said


def test_what_a_visitor_meets_is_raised(site):
    def fail(visitor: Visitor) -> None:
        raise OSError("met")

    with pytest.raises(OSError, match="met"):
        together(site, 2, fail)
    with pytest.raises(KeyError):
        site.component("no such component")


def test_an_app_that_cannot_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "PACKAGE_PARENT", tmp_path)
    (tmp_path / "app.py").write_text("raise SystemExit('no page today')")
    with pytest.raises(OSError, match="no page today"), servers.serve_app(tmp_path):
        pass


def test_the_app_ends_with_the_block(tmp_path):
    with servers.serve_app(tmp_path, HF_HUB_OFFLINE="1") as server:
        assert app.files_of(server.pid, "maps") != ""
    until(lambda: not servers._answers(server.address), "the app is gone")
