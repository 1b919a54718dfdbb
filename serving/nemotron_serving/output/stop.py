"""Stop strings, matched in text: never part of the output, partial matches held back until they are decided."""

from __future__ import annotations

from collections.abc import Sequence

from nemotron_serving.output.tags import held_back


class StopMatcher:
    """Cuts a text at the first stop string. Ties are broken by the earliest begin, then by the longest string."""

    def __init__(self, stop_words: Sequence[str]) -> None:
        self._stop_words = sorted(filter(None, stop_words), key=len, reverse=True)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Take more text and return what certainly stands before any stop string."""
        if not self._stop_words:
            return text
        if self.stopped:
            return ""
        self._held += text
        found = [at for word in self._stop_words if (at := self._held.find(word)) >= 0]
        # A longer stop string that has begun earlier may still be completed: wait for it.
        waiting = held_back(self._held, self._stop_words)
        certain = len(self._held) - waiting
        if found and min(found) <= certain:
            self.stopped = True
            certain = min(found)
            text, self._held = self._held[:certain], ""
            return text
        text, self._held = self._held[:certain], self._held[certain:]
        return text

    def flush(self) -> str:
        """Return what was held back: nothing follows that could complete it. The next text starts anew."""
        held, self._held = self._held, ""
        found = [at for word in self._stop_words if (at := held.find(word)) >= 0]
        if found:
            self.stopped = True
            return held[: min(found)]
        return held
