"""The chat page's files over HTTP.

The page itself is asked for anew each time, and a copy that did not change costs a 304. What it loads has the digest
of all files in its path, so that browsers keep it and never mix the files of two versions.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nemotron_front.errors import unknown_url
from nemotron_front.page.styles import stylesheet

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        # The page turns HTML into elements in one place, of what the sanitizer let through.
        "require-trusted-types-for 'script'",
        "trusted-types rendered",
    )
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding",
}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
_NAMED = ("main.js", "theme.js")
"""Scripts that the page names itself."""
_ENTRY = re.compile(r'^  (\w+): ("(?:[^"\\]|\\.)*"),$', re.MULTILINE)
"""A text in an object of a script, on a line of its own."""
_PLACE = re.compile(r"\{(\w+(?:\.\w+)?)\}")
"""A place in the page to fill in."""


@dataclass(frozen=True)
class _File:
    """A file as it is sent.

    Attributes:
        plain: Its bytes.
        packed: The same by gzip.
        headers: What goes with both.
    """

    plain: bytes
    packed: bytes
    headers: dict[str, str]


def routes() -> list[Route]:
    """The page at / and its files, which need no key: they hold nothing of a server or a user."""
    return [Route("/", _index), Route("/page/{version}/{name}", _asset)]


async def _index(request: Request) -> Response:
    return _respond(request, _page()[_INDEX])


async def _asset(request: Request) -> Response:
    # Whatever the version in the path is: a page from before an update still gets files, of the new version.
    file = _page().get(request.path_params["name"])
    if file is None:
        raise unknown_url(request.method, request.url.path)
    return _respond(request, file)


def _respond(request: Request, file: _File) -> Response:
    if request.headers.get("if-none-match") == file.headers["etag"]:
        return Response(status_code=304, headers=file.headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, headers={**file.headers, "content-encoding": "gzip"})
    return Response(file.plain, headers=file.headers)


@cache
def _page() -> dict[str, _File]:
    """All files by name, read once."""
    sources = {file.name: file.read_bytes() for file in files(__package__).joinpath("static").iterdir()}
    sources["render.css"] = stylesheet().encode()
    # The page is seen once its style sheets are there: one request in place of three.
    sources["page.css"] = sources.pop("style.css") + sources.pop("parts.css") + sources["render.css"]
    version = hashlib.sha256(b"".join(name.encode() + sources[name] for name in sorted(sources))).hexdigest()[:16]
    sources[_INDEX] = _filled_in(sources, f"/page/{version}").encode()
    return {name: _prepare(name, data) for name, data in sources.items()}


def _filled_in(sources: dict[str, bytes], assets: str) -> str:
    """The page with its words and drawings, so that it is seen before any script has run.

    `{word}` is a text of strings.js, `{label.word}` the attributes that name a button by one, `{icon.name}` a drawing
    of dom.js.
    """
    # Without these a browser finds the modules one after another, as each names the next. What is seen comes first.
    modules = sorted(name for name in sources if name.endswith(".js") and name not in _NAMED)
    link = '<link rel="modulepreload" fetchpriority="low" href="{}/{}">'
    values = {"assets": assets, "preloads": "\n".join(link.format(assets, name) for name in modules)}
    for name, text in _texts(sources["strings.js"]).items():
        word = html.escape(text)
        values |= {name: word, f"label.{name}": f'aria-label="{word}" title="{word}"'}
    for name, path in _texts(sources["dom.js"]).items():
        values[f"icon.{name}"] = f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'
    return _PLACE.sub(lambda place: values[place[1]], sources[_INDEX].decode())


def _texts(script: bytes) -> dict[str, str]:
    return {name: json.loads(text) for name, text in _ENTRY.findall(script.decode())}


def _prepare(name: str, data: bytes) -> _File:
    kept = "no-cache" if name == _INDEX else "public, max-age=31536000, immutable"
    headers = {
        **_HEADERS,
        "content-type": _TYPES[PurePath(name).suffix],
        "cache-control": kept,
        "etag": f'"{hashlib.sha256(data).hexdigest()[:16]}"',
    }
    return _File(data, gzip.compress(data, 9, mtime=0), headers)
