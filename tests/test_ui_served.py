"""What visitors share: files and the page kept in memory, and events that make only what they change."""

import asyncio
import gzip
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest

from llmft_core.ui.assets import FOR_GOOD, Shelf
from llmft_core.ui.thrift import Thrifty
from llmft_core.ui.told import Told


class Behind:
    """An app that counts how often it is asked and answers with the path, in two parts."""

    def __init__(self, status: int = 200):
        self.asked, self.status, self.queries = 0, status, []

    async def __call__(self, scope, receive, send):
        self.asked += 1
        self.queries.append(scope["query_string"])
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b" whole"})


def finished(work):
    """The result of a coroutine, in a thread of its own: a browser test may have left a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def ask(shelf: Shelf, path: str, method: str = "GET", query: bytes = b"", **headers: str) -> tuple[dict, bytes]:
    """Headers and body of the answer."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "scheme": "http", "headers": named}
    said = []

    async def send(message):
        said.append(message)

    finished(shelf(scope, None, send))
    return dict(said[0]["headers"]), b"".join(message.get("body", b"") for message in said[1:])


def test_a_file_is_made_once_for_each_encoding():
    behind = Behind()
    shelf = Shelf(behind)
    for _ in range(3):
        headers, body = ask(shelf, "/assets/Index-Dw2QElZn.js", accept_encoding="gzip, br")
        assert body == b"/assets/Index-Dw2QElZn.js whole"
        assert headers[b"content-length"] == str(len(body)).encode()
        assert headers[FOR_GOOD[0]] == FOR_GOOD[1]
    assert behind.asked == 1
    ask(shelf, "/assets/Index-Dw2QElZn.js")
    assert behind.asked == 2


def test_no_visitor_gets_what_another_brought():
    behind = Behind()
    shelf = Shelf(behind)
    for query in (b"deep_link=abc", b"%64eep_link=abc"):
        ask(shelf, "/", query=query, host="site.example")
    assert behind.asked == 2 and not shelf.pages, "a page of one's own is not kept"
    ask(shelf, "/", query=b"run=mine", host="site.example")
    ask(shelf, "/", query=b"run=yours", host="site.example")
    assert behind.asked == 3 and behind.queries == [b"deep_link=abc", b"%64eep_link=abc", b""]
    ask(shelf, "/", host="site.example", origin="https://one.example")
    ask(shelf, "/theme.css", host="site.example", origin="https://one.example")
    assert behind.asked == 5 and len(shelf.pages) == 1 and not shelf.files


def test_a_header_said_twice_is_not_kept_under_either_value():
    behind, answers = Behind(), []
    shelf = Shelf(behind)

    async def send(message):
        answers.append(message)

    twice = [(b"x-forwarded-host", b"evil.example"), (b"x-forwarded-host", b"site.example")]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http", "headers": twice}
    finished(shelf(scope, None, send))
    assert answers and not shelf.pages


def test_invented_hosts_push_out_the_oldest_page_and_no_more():
    behind = Behind()
    shelf = Shelf(behind)
    for number in range(40):
        ask(shelf, "/", host=f"host{number}.example")
    assert len(shelf.pages) == 16
    ask(shelf, "/", host="host39.example")
    assert behind.asked == 40


def test_only_a_file_whose_name_says_its_content_may_be_kept_by_the_browser_for_good():
    headers, _ = ask(Shelf(Behind()), "/static/img/logo.svg")
    assert FOR_GOOD[0] not in headers


@pytest.mark.parametrize(
    "asked",
    [
        {"path": "/gradio_api/queue/data"},
        {"path": "/assets/a.js", "method": "HEAD"},
        {"path": "/assets/a.js", "range": "bytes=0-9"},
        {"path": "/", "query": b"deep_link=abc"},
        {"path": "/", "cookie": "access-token=abc"},
    ],
    ids=lambda asked: "-".join(map(str, asked.values())),
)
def test_what_differs_between_requests_is_asked_for_each_time(asked):
    behind = Behind()
    shelf = Shelf(behind)
    for _ in range(2):
        assert ask(shelf, **asked)[1] == f"{asked['path']} whole".encode()
    assert behind.asked == 2


def test_what_failed_is_not_kept():
    behind = Behind(status=404)
    shelf = Shelf(behind)
    for _ in range(2):
        ask(shelf, "/assets/none.js")
    assert behind.asked == 2


def test_the_page_is_kept_for_each_address_and_sent_compressed():
    behind = Behind()
    shelf = Shelf(behind)
    for host in ("here", "here", "there"):
        headers, body = ask(shelf, "/", host=host, accept_encoding="gzip, br")
        assert headers[b"content-encoding"] == b"gzip"
        assert gzip.decompress(body) == b"/ whole"
    assert behind.asked == 2
    assert ask(shelf, "/", host="here")[1] == b"/ whole"


def test_an_event_makes_only_what_it_changes():
    with Thrifty() as demo:
        boxes = [gr.Textbox(label=str(number)) for number in range(3)]
        kept = gr.State("kept")
        button = gr.Button("go")
        button.click(lambda: {boxes[1]: "new", boxes[0]: gr.skip()}, None, [*boxes, kept])
    (event,) = demo.fns.values()
    found = finished(demo.postprocess_data(event, {boxes[1]: "new", boxes[0]: gr.skip()}, None))
    assert found == [gr.skip(), "new", gr.skip(), None]
    both = finished(demo.postprocess_data(event, {boxes[0]: "a", boxes[2]: gr.Textbox(visible=False)}, None))
    assert both[0] == "a" and both[2]["visible"] is False and both[3] is None
    nothing = finished(demo.postprocess_data(event, {boxes[0]: gr.skip()}, None))
    assert nothing == [gr.skip(), gr.skip(), gr.skip(), None]
    stranger = gr.Textbox(render=False)
    with pytest.raises(ValueError):
        finished(demo.postprocess_data(event, {stranger: "new"}, None))


def test_what_several_pages_are_told_is_made_once(monkeypatch):
    made = []
    with Thrifty() as demo:
        boxes = [gr.Textbox(label=str(number)) for number in range(3)]
        gr.Button("go").click(lambda: None, None, boxes)
    (event,) = demo.fns.values()
    write = gr.Textbox.postprocess
    monkeypatch.setattr(gr.Textbox, "postprocess", lambda box, value: made.append(value) or write(box, value))
    told = Told({boxes[1]: "new"})
    sent = [finished(demo.postprocess_data(event, told, None)) for _ in range(3)]
    assert sent == [[gr.skip(), "new", gr.skip()]] * 3 and made == ["new"]
    assert sent[0] is not sent[1], "each may be written into"
