"""Visitors of the app without a browser: they fetch what a browser fetches, and press what a hand presses."""

import http.client
import json
import re
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from llmft_core import files

PATIENCE = 300.0  # seconds for one answer
BROWSER = {"Accept-Encoding": "gzip, deflate, br", "Connection": "keep-alive"}
LINKED = re.compile(r'<(?:script|link)[^>]+?(?:src|href)="([^"#]+\.(?:js|css))"')
PRELOADS = re.compile(r"m\.f=(\[[^\]]*\])")  # what a script of Gradio's front end names before it loads a part of it
PARTS = re.compile(r"\b(\w+):\{((?:(?:base|example|component):\(\)=>.*?import\.meta\.url\),?)+)\}")
NUMBERS = re.compile(r"__vite__mapDeps\(\[([\d,]*)\]\)")


@dataclass(frozen=True)
class Site:
    """What the app serves: its address, the paths of one page view (the page first; fonts left out), and its events."""

    address: str
    paths: tuple[str, ...]
    config: dict

    @classmethod
    def read(cls, address: str) -> "Site":
        """Look at the page as a browser does. Raises OSError if it cannot be had."""
        page = _text(f"{address}/")
        config = json.loads(_text(f"{address}/config"))
        kinds = {component["type"] for component in config["components"]}
        linked = [urljoin(f"{address}/", link) for link in LINKED.findall(page)]
        linked = [url for url in linked if url.startswith(address)]
        first = [part for url in linked if url.endswith(".js") for part in _fetches(url)]
        then = [part for url in first if url.endswith(".js") for part in _fetches(url, kinds)]
        paths = dict.fromkeys(urlsplit(url).path for url in (*linked, *first, *then))
        return cls(address, ("/", *paths, f"/theme.css?v={config['theme_hash']}"), config)

    def component(self, name: str, key: str = "elem_id") -> int:
        """The number of the component whose `key` is that. Raises KeyError if there is none."""
        for one in self.config["components"]:
            if (one["props"].get(key) if key != "type" else one["type"]) == name:
                return one["id"]
        raise KeyError(f"the page has no component whose {key} is {name}")

    def event(self, component: int, kind: str) -> dict:
        """How an event of a component is wired: id, inputs, outputs. Raises KeyError if it has none of that kind."""
        for one in self.config["dependencies"]:
            if [component, kind] in one["targets"] and one["backend_fn"]:
                return one
        raise KeyError(f"component {component} has no event {kind}")

    def values(self, event: dict, given: dict[int, object]) -> list:
        """What a browser sends with an event: what was typed, else what stands on the page."""
        props = {one["id"]: one["props"] for one in self.config["components"]}
        return [given.get(number, props[number].get("value")) for number in event["inputs"]]


def _fetches(url: str, kinds: set[str] | None = None) -> list[str]:
    """What a script fetches: all that it names, or with the `kinds` of components on the page, only what they need."""
    script = _text(url)
    listed = PRELOADS.search(script)
    if not listed:
        return []
    files, groups = json.loads(listed.group(1)), NUMBERS.findall(script)
    if kinds is None:
        return [urljoin(url, file) for file in files]
    if parts := PARTS.findall(script):
        groups = [group for kind, body in parts if kind in kinds for group in NUMBERS.findall(body)]
    else:
        groups = groups[:1]  # the rest is for what a hand opens
    return [urljoin(url, files[int(n)]) for group in groups for n in group.split(",") if n]


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode("utf-8")


class Visitor:
    """One visitor with one connection, which is kept."""

    def __init__(self, site: Site):
        self.site, self.session = site, uuid.uuid4().hex[:11]
        self.line = http.client.HTTPConnection(urlsplit(site.address).netloc, timeout=PATIENCE)

    def load(self) -> None:
        """One page view: the page and all that it fetches. Raises OSError if something is missing."""
        for path in self.site.paths:
            self.line.request("GET", path, headers=BROWSER)
            answer = self.line.getresponse()
            answer.read()
            if answer.status != 200:
                raise OSError(f"{path}: {answer.status}")
        self.line.close()

    def fire(self, event: dict, data: list) -> Iterator[dict]:
        """Send an event as the page does; what the server says of it up to its end. Raises OSError if it refuses."""
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session, "event_data": None}
        if not event["queue"]:
            output = json.loads(self._post("run/predict", body))
            self.line.close()  # the server ends a line that is idle for as long as a page waits between two looks
            yield {"msg": "process_completed", "success": True, "output": output}
            return
        self._post("queue/join", body)
        self.line.request("GET", f"/gradio_api/queue/data?session_hash={self.session}")
        stream = self.line.getresponse()
        over = False
        while line := stream.readline():
            if line.startswith(b"data:") and not over:
                message = json.loads(line[5:])
                yield message
                over = message["msg"] in ("process_completed", "unexpected_error")
        self.line.close()

    def _post(self, where: str, body: dict) -> bytes:
        self.line.request("POST", f"/gradio_api/{where}", files.to_json(body), {"Content-Type": "application/json"})
        answer = self.line.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise OSError(f"the app refused: {answer.status} {said[:200].decode(errors='replace')}")
        return said

    def close(self) -> None:
        self.line.close()


def together(site: Site, n: int, do: Callable[[Visitor], None]) -> list[float]:
    """Seconds that each of `n` visitors took, all setting out at the same moment. Raises what one of them met."""
    gate, seconds, failed = threading.Barrier(n), [0.0] * n, []

    def visit(number: int) -> None:
        visitor = Visitor(site)
        gate.wait()
        begin = time.perf_counter()
        try:
            do(visitor)
        except Exception as error:
            failed.append(error)
        finally:
            visitor.close()
        seconds[number] = time.perf_counter() - begin

    crowd = [threading.Thread(target=visit, args=(number,)) for number in range(n)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    if failed:
        raise failed[0]
    return seconds
