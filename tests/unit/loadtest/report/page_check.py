"""What any page has to be, read by the standard library's parser."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

_VOID = {"meta", "br", "path", "circle"}
_SELF_CLOSED = {"path", "circle"}
_REACHES_OUT = ("src", "href", "xlink:href", "action", "background", "data", "poster", "srcset")


class Page(HTMLParser):
    """A page, taken apart; fails at a tag that does not fit."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.sections: list[str] = []
        self.references: list[str] = []
        self.labels: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in _VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
                if tag == "section":
                    self.sections.append(value or "")
            if name in _REACHES_OUT or name.startswith("on"):
                self.references.append(f"{tag} {name}={value}")
            if name == "aria-labelledby":
                self.labels += (value or "").split()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _SELF_CLOSED
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += f"{data}\n"


def checked(text: str) -> Page:
    """A page that holds what every page has to hold."""
    page = Page(text)
    assert len(text) < 1_000_000
    assert not page.references
    assert not page.tags["script"] and not page.tags["link"] and not page.tags["img"]
    assert not re.search(r"url\(|@import|https?:", text)
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert page.tags["svg"] == page.tags["title"] - 1 == page.tags["desc"]
    assert set(page.labels) <= set(page.ids)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    return page
