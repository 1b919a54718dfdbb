"""The part of the terminal, below all that is printed for good, that changes while an answer comes."""

from __future__ import annotations

from typing import IO

_BEGIN_UPDATE, _END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"  # terminals that know it draw all at once
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
# From the second column on: tmux takes what is erased from the screen's first corner for a page to keep.
_ERASE_BELOW = "\r \x1b[J\r"


class LiveRegion:
    """Lines that are drawn anew each time.

    The cursor rests at the region's first column, where a terminal keeps it when it is resized and wraps its lines
    anew: so the next frame begins in the right place, which counting lines would not find. Lines of the region are
    clipped, never wrapped, for the width of some characters is only the terminal's to know.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._shown: list[str] = []

    def draw(self, done: list[str], tail: list[str]) -> None:
        """Print lines for good, and show others below them.

        Args:
            done: Printed, and scrolled away with the rest.
            tail: In place of the region's lines so far. They have to fit the height of the screen.
        """
        if not done and tail == self._shown:
            return
        parts = [_BEGIN_UPDATE, _HIDE_CURSOR, _ERASE_BELOW, *(f"{line}\n" for line in done)]
        if tail:
            parts += [_NO_WRAP, "\n".join(tail), _WRAP, "\r"]
            if len(tail) > 1:
                parts.append(f"\x1b[{len(tail) - 1}A")
        else:
            parts.append(_SHOW_CURSOR)
        parts.append(_END_UPDATE)
        self._shown = tail
        self._file.write("".join(parts))
        self._file.flush()
