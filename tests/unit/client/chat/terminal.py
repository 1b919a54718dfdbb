"""A terminal, as far as the chat uses one: what it shows, and what has scrolled away."""

from __future__ import annotations

import io
import re

_TOKEN = re.compile(r"\x1b\[(\??)(\d*)(?:;[\d;]*)?([A-Za-z])|\x1b|[^\x1b]", re.DOTALL)


class Terminal(io.StringIO):
    """Write to it, then read `screen` and `scrolled`. Knows characters of one column only."""

    encoding = "utf-8"

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.width = width
        self.height = height
        self.scrolled: list[str] = []
        self.rows = [""]
        self.cursor_shown = True
        self._y = self._x = 0
        self._wraps = True

    @property
    def everything(self) -> list[str]:
        """All lines, from the first that was ever written."""
        return [row.rstrip() for row in (*self.scrolled, *self.rows)]

    def write(self, text: str) -> int:
        for token in _TOKEN.finditer(text):
            if token[0] == "\n":
                self._down()
                self._x = 0
            elif token[0] == "\r":
                self._x = 0
            elif token[3]:
                self._obey(bool(token[1]), int(token[2] or 1), token[3])
            else:
                assert token[0].isprintable(), token[0]
                self._put(token[0])
        return len(text)

    def _put(self, character: str) -> None:
        if self._x == self.width:
            if self._wraps:
                self._down()
                self._x = 0
            else:
                self._x -= 1
        row = self.rows[self._y].ljust(self._x)
        self.rows[self._y] = row[: self._x] + character + row[self._x + 1 :]
        self._x += 1

    def _down(self) -> None:
        self._y += 1
        if self._y == len(self.rows):
            self.rows.append("")
        if self._y == self.height:
            self.scrolled.append(self.rows.pop(0))
            self._y -= 1

    def _obey(self, private: bool, number: int, code: str) -> None:
        if code == "J":
            assert (self._x, self._y) != (0, 0), "tmux would keep the screen in its history"
            self.rows[self._y] = self.rows[self._y][: self._x]
            del self.rows[self._y + 1 :]
        elif code == "A":
            assert number <= self._y, "above the screen"
            self._y -= number
        elif private and number == 7:
            self._wraps = code == "h"
        elif private and number == 25:
            self.cursor_shown = code == "h"
        else:
            assert (private and number == 2026) or code == "m", (private, number, code)
