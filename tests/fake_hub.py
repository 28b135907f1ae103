"""A Hub of our own for tests: it serves one model folder over HTTP, as slowly as it is told, or says that it is gated.

with fake_hub.serving("owner/tiny", folder) as hub: HF_ENDPOINT=hub.address; hub.open.set() lets the weights through.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"
PIECE = 16_384  # bytes of the weights that are sent before the gate is open


class Hub:
    """`open`: the rest of the weights may go; `trickle`: a piece of them now and then; `gated`: 401 for all."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.open, self.trickle, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.gated = False
        self.asked: list[str] = []
        self.address = ""

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def serving(name: str, folder: Path) -> Iterator[Hub]:
    """The Hub with this one model, until the block ends."""
    hub = Hub(name, folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.ended.set()
        hub.open.set()
        server.shutdown()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if path == "/":
            self._say(200, b"hello")
        elif self.hub.name not in path:
            self._say(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif self.hub.gated:
            self._say(401, b"", {"X-Error-Code": "GatedRepo"})
        elif path.startswith(f"/api/models/{self.hub.name}"):
            self._say(200, json.dumps(self._about(path)).encode(), {"Content-Type": "application/json"})
        else:
            self._file(self.hub.folder / path.split("/", 5)[5])

    def _about(self, path: str) -> object:
        if "/tree/" in path:
            return [self._entry(file) for file in self.hub.files()]
        names = [{"rfilename": str(file.relative_to(self.hub.folder))} for file in self.hub.files()]
        return {"id": self.hub.name, "modelId": self.hub.name, "sha": COMMIT, "siblings": names, "tags": []}

    def _entry(self, file: Path) -> dict:
        name, size = str(file.relative_to(self.hub.folder)), file.stat().st_size
        return {"type": "file", "path": name, "size": size, "oid": _etag(file)}

    def _file(self, file: Path) -> None:
        if not file.is_file():
            self._say(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        self._say(200, file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT}, file.suffix)

    def _say(self, status: int, body: bytes, headers: dict | None = None, kind: str = "") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            with suppress(OSError):  # nobody listens any more
                self._send(body, kind == ".safetensors")

    def _send(self, body: bytes, is_slow: bool) -> None:
        sent = 0
        while is_slow and sent < len(body) and not self.hub.open.wait(0.1) and not self.hub.ended.is_set():
            if self.hub.trickle.is_set() or not sent:
                self.wfile.write(body[sent : sent + PIECE])
                sent = min(sent + PIECE, len(body))
        self.wfile.write(body[sent:])


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
