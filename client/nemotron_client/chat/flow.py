"""Text that grows, as lines on a screen: those that are finished, and the tail that may still change. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable

Render = Callable[[str, int], list[str]]
"""The lines that a text becomes in so many columns."""


class Flow:
    """One growing text.

    A part that has grown taller than the screen gives its upper lines away before it is finished; it then keeps the
    width it had, for its remaining lines to follow on.
    """

    def __init__(self, render: Render, finished_length: Callable[[str], int], *, gap: bool) -> None:
        """Begin with no text.

        Args:
            render: Makes the lines.
            finished_length: How much of a text is finished for good.
            gap: Whether a blank line stands between finished parts.
        """
        self._render = render
        self._finished_length = finished_length
        self._gap = gap
        self._pending = ""
        self._given = 0
        self._width = 0
        self._begun = False

    def add(self, text: str) -> None:
        """The text grows."""
        self._pending += text

    def lines(self, width: int, tail_lines: int) -> tuple[list[str], list[str]]:
        """What there is to show.

        Args:
            width: Columns of the screen.
            tail_lines: How many lines may change later.

        Returns:
            The lines that were finished since the last call, and the tail.
        """
        done: list[str] = []
        if length := self._finished_length(self._pending):
            done, self._pending = self._finish(self._pending[:length], width), self._pending[length:]
        tail = self._new_lines(self._pending, width)
        if (over := len(tail) - tail_lines) > 0:
            if not self._given:
                self._width = width
            self._given += over
            done, tail = done + tail[:over], tail[over:]
        return done, tail

    def end(self, width: int) -> list[str]:
        """The lines of all that is left."""
        left, self._pending = self._pending, ""
        return self._finish(left, width)

    def _finish(self, text: str, width: int) -> list[str]:
        lines = self._new_lines(text, width)
        self._begun = self._begun or bool(lines) or self._given > 0
        self._given = 0
        return lines

    def _new_lines(self, text: str, width: int) -> list[str]:
        """The lines of the next part, after the blank one that separates it, without those that were given away."""
        lines = self._render(text, self._width if self._given else width)
        if lines and self._gap and self._begun:
            lines = ["", *lines]
        return lines[self._given :]
