"""What is the same for every visitor (scripts, styles, the page before it is drawn), made once and kept in memory.

Gradio finds and compresses a file anew for each request, and writes the page anew: for 50 visitors at once, seconds.
"""

import gzip
import re
from contextlib import asynccontextmanager
from urllib.parse import unquote_to_bytes

KEPT = ("/assets/", "/static/", "/theme.css")
HASHED = re.compile(rb"/assets/[^/]+-[\w-]{8}\d*\.(js|css|woff2?)")  # the name changes with the content
FOR_GOOD = (b"cache-control", b"public, max-age=31536000, immutable")
# All of a request that the page depends on: where it is asked for. A deep link has a page of its own.
ORIGIN = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")
PERSONAL = (b"cookie", b"authorization")
LARGEST = 64_000_000  # bytes in memory; the whole front end compressed is a tenth of it
MOST_PAGES = 16  # addresses under which one app is known


class Shelf:
    """An ASGI app in front of another one, for what never changes while it runs."""

    def __init__(self, app):
        self.app, self.files, self.pages, self.size = app, {}, {}, 0

    async def __call__(self, scope, receive, send) -> None:
        page, file = _page(scope), _file(scope)
        key, kept = (page, self.pages) if page else (file, self.files)
        if key is None:
            return await self.app(scope, receive, send)
        whole = kept.get(key)
        if whole is None:
            asked = scope | {"query_string": b""} if page else scope  # nothing of one visitor may be in what all get
            whole = await self._made(asked, receive, squeeze=bool(page) and page[0] == "gzip")
            self._keep(key, kept, whole)
        for message in whole:
            await send(message)

    async def _made(self, scope, receive, squeeze: bool) -> tuple[dict, dict]:
        """The answer of the app behind, as a head and one body."""
        said = []

        async def hear(message) -> None:
            said.append(message)

        await self.app(scope, receive, hear)
        start, body = said[0], b"".join(message.get("body", b"") for message in said[1:])
        headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        if squeeze and start["status"] == 200:
            body = gzip.compress(body, 6)
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        if start["status"] == 200 and HASHED.fullmatch(scope["path"].encode()):
            headers = [*(pair for pair in headers if pair[0] != b"cache-control"), FOR_GOOD]
        headers.append((b"content-length", str(len(body)).encode()))
        return start | {"headers": headers}, {"type": "http.response.body", "body": body}

    def _keep(self, key: tuple, kept: dict, whole: tuple[dict, dict]) -> None:
        size = len(whole[1]["body"])
        if whole[0]["status"] != 200 or (kept is self.files and self.size + size > LARGEST):
            return
        if kept is self.pages and len(kept) >= MOST_PAGES:
            kept.pop(next(iter(kept)))
        self.size += size if kept is self.files and key not in kept else 0
        kept[key] = whole


def _file(scope) -> tuple | None:
    """Encoding and path of a request for a whole file; None for all else."""
    if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(KEPT):
        return None
    headers = _headers(scope)
    return None if headers is None or b"range" in headers else (_encoding(headers, "br", "gzip"), scope["path"])


def _page(scope) -> tuple | None:
    """Encoding and origin of a request for the page; None for all else."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
        return None
    headers = _headers(scope)
    if headers is None or any(name in headers for name in PERSONAL):
        return None
    if b"deep_link" in unquote_to_bytes(scope["query_string"]):
        return None
    origin = (scope["scheme"], scope.get("root_path"), *(headers.get(name) for name in ORIGIN))
    return _encoding(headers, "gzip"), *origin


def _headers(scope) -> dict[bytes, bytes] | None:
    """The headers by name; None if the answer may depend on more of them: one said twice, or another site that asks."""
    headers = dict(scope["headers"])
    return None if len(headers) < len(scope["headers"]) or b"origin" in headers else headers


def _encoding(headers: dict, *known: str) -> str:
    accepted = headers.get(b"accept-encoding", b"").decode("latin-1")
    return next((name for name in known if name in accepted), "")


@asynccontextmanager
async def shelved(app):
    """A lifespan of the web app: the shelf stands before everything else, Gradio's compression included."""
    app.middleware_stack = Shelf(app.middleware_stack)
    yield
