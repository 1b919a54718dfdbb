"""Makes text from elsewhere harmless to a terminal: what would control it becomes a visible escape. Does no I/O."""

from __future__ import annotations

import re

# Control characters but tab and newline; marks that reorder text, so that it reads as what it is not; line ends
# that only some programs see; halves of surrogate pairs, which no encoding can write.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str) -> str:
    r"""The text with visible escapes, such as `\x1b`, for all that a terminal would obey. `\r\n` becomes a newline."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def safe_line(text: str) -> str:
    """The same on one line: for names, arguments and error messages."""
    return safe(text).replace("\n", "\\n").replace("\t", " ")


def safe_json(text: str) -> str:
    """A JSON text with the same characters as JSON's own escapes."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class SafeStream:
    r"""`safe` for text that comes in parts: a `\r` at the end of one waits for the next."""

    def __init__(self) -> None:
        self._held = ""

    def made_safe(self, text: str) -> str:
        """The next part, made harmless."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        return safe(text.removesuffix("\r"))

    def end(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return safe(held)


def encodable(text: str, encoding: str) -> str:
    """The text as a terminal of this encoding can show it: other characters become a likeness or question marks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_LIKENESSES).encode(encoding, "replace").decode(encoding)
    return text


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if found[0] == "\r":
        return "\\r"
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


# Of the same width, so that lines keep their length.
_LIKENESSES = str.maketrans("•─━│▌▸…‘’“”–—", "*--||>.''\"\"--")  # noqa: RUF001
