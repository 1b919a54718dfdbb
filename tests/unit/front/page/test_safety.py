"""What a model writes does nothing on the page: whatever HTML is made of it holds known elements and no way out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_front.page.markdown import render
from tests.unit.front.page.hostile import HOSTILE

TAGS = set(re.findall(r"\w+", "a b blockquote br code em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong u ul"))
TAGS |= set(re.findall(r"\w+", "table tbody td th thead tr"))
MATH = set(
    re.findall(
        r"\w+",
        "math menclose mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow mspace msqrt mstyle "
        "msub msubsup msup mtable mtd mtext mtr munder munderover",
    )
)
ATTRIBUTES = {"a": {"href", "title", "target", "rel"}, "ol": {"start"}, "pre": {"data-lang"}}


class Check(HTMLParser):
    """Fails on what no rendered text may hold.

    Attributes:
        links: Where links lead.
        text: What a reader sees.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS | MATH
        given = {name: value or "" for name, value in attrs}
        allowed = ATTRIBUTES.get(tag, set()) | {"class"}
        if tag in MATH:
            assert not any(name.startswith("on") or "href" in name or name in ("style", "id") for name in given)
            assert all(re.fullmatch(r"[\w#.+% -]*", value) for value in given.values())
        else:
            assert given.keys() <= allowed
        if tag == "a":
            assert given["rel"] == "noopener noreferrer nofollow"
            assert given["target"] == "_blank"
            if "href" in given:
                assert re.match(r"https?://|mailto:", given["href"], re.IGNORECASE)
                self.links.append(given["href"])

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")


def shown(text: str) -> list[Check]:
    """What the page shows of a text: when it is whole, and at each step of its growth."""
    whole = Check("".join(render(text, final=True).blocks))
    steps = [render(text[:end], final=False) for end in range(1, len(text) + 1)]
    return [whole, *(Check("".join(step.blocks) + step.open) for step in steps)]


def test_there_are_forty() -> None:
    assert len(set(HOSTILE)) >= 40


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_output_does_nothing(text: str) -> None:
    shown(text)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.startswith("<") and not text.startswith("<data:")])
def test_html_is_shown_as_it_was_written(text: str) -> None:
    assert "<" in shown(text)[0].text


@pytest.mark.parametrize("language", ["html", "javascript", "python", "css", "xml", "php", "markdown", "console"])
def test_hostile_code_does_nothing(language: str) -> None:
    for text in HOSTILE:
        code = text.replace("```", "").replace("\0", "")
        assert Check("".join(render(f"````{language}\n{code}\n````", final=True).blocks)).text == f"{code}\n\n"


PIECES = re.findall(
    r"\S+",
    "< > \" ' ` ``` $ \\( \\) \\text{ } [ ]( ) ! javascript: & ; script img math style on = | * <!-- --> </ /> # a "
    "<svg https://a.example \\href{ \\color{ &lt; &#x3c; \\begin{ \\end{",
)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*PIECES, " ", "\n", "|-|\n", "\0"]), max_size=30))
def test_no_text_does_anything(pieces: list[str]) -> None:
    text = "".join(pieces)
    Check("".join(render(text, final=True).blocks))
    step = render(text, final=False)
    Check("".join(step.blocks) + step.open)


@pytest.mark.parametrize(
    "link", ["https://a.example/x?y=1", "http://a.example", "mailto:a@b.example", "HTTPS://a.example"]
)
def test_links_that_lead_elsewhere_are_links(link: str) -> None:
    assert shown(f"[x]({link})")[0].links == [link]
    assert shown(f"<{link}>")[0].links == [link]


def test_a_picture_is_a_link() -> None:
    assert shown("![a cat](https://a.example/cat.png)")[0].links == ["https://a.example/cat.png"]
    assert shown("![a cat](https://a.example/cat.png)")[0].text == "a cat\n"
    assert shown("[![a cat](https://a.example/cat.png)](https://b.example)")[0].links == ["https://b.example"]
