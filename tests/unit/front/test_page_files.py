"""The chat page's files: what goes with them, what they hold, and what they must not."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from tests.unit.front.conftest import FrontOf, InProcess

STATIC = files("nemotron_front.page").joinpath("static")
MODULES = sorted(file.name for file in STATIC.iterdir() if file.name.endswith(".js"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@pytest.fixture
def front(front_of: FrontOf) -> InProcess:
    return front_of()


def text(name: str) -> str:
    return STATIC.joinpath(name).read_text()


def assets(front: InProcess) -> list[str]:
    return re.findall(r'(?:href|src)="(/[^"]+)"', front.get("/").text)


def test_the_page_has_a_strict_policy(front: InProcess) -> None:
    headers = front.get("/").headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"].startswith(POLICY)
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_the_page_is_asked_for_anew_and_costs_nothing_where_it_is_known(front: InProcess) -> None:
    first = front.get("/")
    assert first.headers["cache-control"] == "no-cache"
    again = front.get("/", **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_it_loads_is_there_and_kept(front: InProcess) -> None:
    paths = assets(front)
    names = {path.rpartition("/")[2] for path in paths}
    # Whatever is not named there is found only when another module has come.
    assert set(MODULES) <= names
    for path in paths:
        response = front.get(path)
        assert response.status_code == 200, path
        assert "immutable" in response.headers["cache-control"]
        assert response.headers["content-security-policy"].startswith(POLICY)


def test_the_page_has_its_words_and_drawings_before_any_script(front: InProcess) -> None:
    page = front.get("/").text
    body = page[page.index("<body>") :]
    assert "{" not in body
    buttons = re.findall(r"<button[^>]*>(.*?)</button>", body)
    assert len(buttons) >= 10
    assert all(inside.startswith("<svg") or re.match(r"\w", inside) for inside in buttons)


def test_the_page_is_small(front: InProcess) -> None:
    plain = [front.get(path, **{"accept-encoding": "identity"}).content for path in ["/", *assets(front)]]
    assert sum(map(len, plain)) <= 200_000


def test_files_are_packed_for_those_who_can_unpack_them(front: InProcess) -> None:
    path = next(path for path in assets(front) if path.endswith("page.css"))
    packed = front.get(path, **{"accept-encoding": "gzip"})
    plain = front.get(path, **{"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2


def test_an_unknown_file_is_not_found(front: InProcess) -> None:
    for path in ("/page/x/nothing.js", "/page/x/..%2Ffiles.py", "/page/x/"):
        response = front.get(path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")


def test_a_file_of_an_older_version_is_the_current_one(front: InProcess) -> None:
    assert front.get("/page/0/main.js").status_code == 200


def test_the_style_of_what_is_rendered_is_there_for_other_pages(front: InProcess) -> None:
    style = front.get("/page/0/render.css").content
    assert b"math" in style
    assert style in front.get("/page/0/page.css").content


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short_and_name_no_other_origin(name: str) -> None:
    source = text(name)
    assert len(source.splitlines()) <= 400
    assert set(re.findall(r"https?://[\w.]+", source)) <= {"http://www.w3.org"}  # the name of SVG


@pytest.mark.parametrize("name", MODULES)
def test_html_becomes_elements_in_one_place(name: str) -> None:
    allowed = 1 if name == "markdown.js" else 0
    sinks = r"(inner|outer|set|Adjacent)HTML|document\.write|DOMParser|createContextual|\beval\b|new Function"
    assert len(re.findall(sinks, text(name))) == allowed


def test_strings_are_in_one_file() -> None:
    strings = text("strings.js")
    known = set(re.findall(r"^  (\w+):", strings, re.MULTILINE))
    in_page = set(re.findall(r"\{(?:label\.)?(\w+)\}", text("index.html"))) - {"assets", "preloads"}
    used = {name: set(re.findall(r"\bS\.(\w+)", text(name))) for name in MODULES}
    assert in_page <= known
    for name, names in used.items():
        assert names <= known, name
    assert known == in_page.union(*used.values())
