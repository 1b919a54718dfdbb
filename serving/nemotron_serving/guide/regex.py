r"""The part of regular expressions that Python and ECMAScript read alike, as a tree for a grammar.

What is generated matches as a whole in both. Where the two differ (`\d` beyond ASCII) only what both accept is
generated. What looks around, refers back or depends on flags is refused by name.
"""

from __future__ import annotations

import string

from nemotron_serving.guide.ambiguity import places_at_once
from nemotron_serving.guide.grammar import (
    ALPHABET,
    DIGITS,
    EMPTY,
    FEW,
    MAX_COUNT,
    NON_ASCII,
    Chars,
    GuideError,
    Node,
    Ranges,
    Repeat,
    Text,
    choice,
    common,
    holdable,
    minus,
    sequence,
    set_of,
    union,
)

MAX_LENGTH = 1024
_MAX_DEPTH = 30
_MAX_PLACES_AT_ONCE = 8

_LETTERS: Ranges = ((ord("A"), ord("Z")), (ord("_"), ord("_")), (ord("a"), ord("z")))
_WORD = union(DIGITS, _LETTERS)
_SPACE = set_of(" \t\n\r")
# All that Python or ECMAScript counts as a space.
_ANY_SPACE = union(_SPACE, ((0x09, 0x0D), (0x1C, 0x1F), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680)))
_ANY_SPACE = union(_ANY_SPACE, ((0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F)))
_ANY_SPACE = union(_ANY_SPACE, ((0x3000, 0x3000), (0xFEFF, 0xFEFF)))
_DOT = minus(ALPHABET, set_of("\n\r"))

# By the letter: what certainly is of the kind, and what may be.
_KINDS: dict[str, tuple[Ranges, Ranges]] = {
    "d": (DIGITS, union(DIGITS, NON_ASCII)),
    "w": (_WORD, union(_WORD, NON_ASCII)),
    "s": (_SPACE, _ANY_SPACE),
}
_KINDS |= {letter.upper(): (minus(ALPHABET, most), minus(ALPHABET, least)) for letter, (least, most) in _KINDS.items()}

_CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}
_HEX_DIGITS = {"x": 2, "u": 4}
_GROUPS = {
    "?=": "lookahead '(?='",
    "?!": "lookahead '(?!'",
    "?<=": "lookbehind '(?<='",
    "?<!": "lookbehind '(?<!'",
    "?>": "an atomic group '(?>'",
    "?(": "a condition '(?('",
    "?#": "a comment '(?#'",
    "?P=": "a back reference '(?P='",
}


def parse(pattern: str) -> Node:
    """The tree of a pattern: literals, classes, groups, alternation, repetition, `^` and `$` at the ends.

    Raises:
        GuideError: an error in it, or a construct that is not supported, with its place.
    """
    if len(pattern) > MAX_LENGTH:
        raise GuideError(f"a pattern of {len(pattern)} characters, expected at most {MAX_LENGTH}")
    node = _Parser(pattern).parse()
    if places_at_once(node) > _MAX_PLACES_AT_ONCE:
        raise GuideError(
            "a repetition whose end cannot be told from what follows, or from its next turn, can be read in too many "
            "ways; put something between that neither contains"
        )
    return node


class _Parser:
    """Reads from left to right, one character ahead."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        self._caret: int | None = None  # where the last '^' stands
        self._dollar: int | None = None  # where a '$' stands in the part that was read last

    def parse(self) -> Node:
        node = self._alternatives(begins=True)
        if self._at < len(self._pattern):
            raise self._error("')' without '('")
        return node

    def _error(self, reason: str, at: int | None = None) -> GuideError:
        return GuideError(f"{reason} at character {(self._at if at is None else at) + 1} of the pattern")

    def _peek(self, text: str) -> bool:
        return self._pattern.startswith(text, self._at)

    def _take(self, text: str) -> bool:
        if found := self._peek(text):
            self._at += len(text)
        return found

    def _next(self, missing: str) -> str:
        if self._at == len(self._pattern):
            raise self._error(missing)
        self._at += 1
        return self._pattern[self._at - 1]

    def _alternatives(self, *, begins: bool) -> Node:
        options = [self._sequence(begins=begins)]
        dollar = self._dollar
        while self._take("|"):
            options.append(self._sequence(begins=begins))
            dollar = self._dollar if dollar is None else dollar
        self._dollar = dollar
        return choice(*options)

    def _sequence(self, *, begins: bool) -> Node:
        """Alternatives end it; `begins` says that nothing stands before it in a match, so that '^' holds."""
        parts: list[Node] = []
        dollar: int | None = None
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            at = self._at
            if self._take("$"):
                dollar = at
                continue
            if dollar is not None:
                raise self._error("'$' is supported at the end only:", dollar)
            if self._take("^"):
                if not begins or parts:
                    raise self._error("'^' is supported at the beginning only:", at)
                self._caret = at
                continue
            self._dollar = None
            parts.append(self._repeated(self._atom(begins=begins and not parts), at))
            dollar = self._dollar
        self._dollar = dollar
        return sequence(*parts) if parts else EMPTY

    def _atom(self, *, begins: bool) -> Node:
        at = self._at
        character = self._next("")
        if character == "(":
            return self._group(at, begins=begins)
        if character == "[":
            return self._class(at)
        if character == ".":
            return Chars(_DOT)
        if character == "\\":
            found = self._escape(in_class=False)
            return Text(found) if isinstance(found, str) else self._chars(found[0], at)
        if character in "*+?":
            raise self._error("nothing to repeat", at)
        if character == "{" and self._count() is not None:
            raise self._error("nothing to repeat", at)
        return Text(self._writable(character, at))

    def _group(self, at: int, *, begins: bool) -> Node:
        for mark, name in _GROUPS.items():
            if self._peek(mark):
                raise self._error(f"{name} is not supported:", at)
        if self._take("?P<") or self._take("?<"):
            if not (name := self._until(">")).isidentifier():
                raise self._error(f"{name!r} is no group name:", at)
        elif self._peek("?") and not self._take("?:"):
            raise self._error("inline flags '(?' are not supported:", at)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"groups are nested more than {_MAX_DEPTH} deep:", at)
        node = self._alternatives(begins=begins)
        self._depth -= 1
        if not self._take(")"):
            raise self._error("'(' without ')'", at)
        return node

    def _until(self, end: str) -> str:
        text, found, _ = self._pattern[self._at :].partition(end)
        if not found:
            raise self._error(f"{end!r} is missing")
        self._at += len(text) + len(end)
        return text

    def _repeated(self, node: Node, begin: int) -> Node:
        at = self._at
        if self._take("*"):
            bounds: tuple[int, int | None] = (0, None)
        elif self._take("+"):
            bounds = (1, None)
        elif self._take("?"):
            bounds = (0, 1)
        elif self._take("{"):
            found = self._count()
            if found is None:
                raise self._error("'{' is not a repetition; write '\\{':", at)
            bounds = found
        else:
            return node
        low, high = bounds
        if high is not None and low > high:
            raise self._error(f"a repetition of at least {low} and at most {high}", at)
        if low > MAX_COUNT:
            raise self._error(f"{low} repetitions, expected at most {MAX_COUNT},", at)
        anchored = self._dollar is not None or (self._caret is not None and self._caret > begin)
        if anchored and high != 1:
            raise self._error("'^' or '$' in what is repeated", begin)
        if self._peek("+"):
            raise self._error("a possessive repetition '+' is not supported:")
        self._take("?")  # lazy: which way it is matched makes no difference to what matches
        if self._at < len(self._pattern) and self._pattern[self._at] in "*+?{":
            raise self._error("a repetition of a repetition")
        return Repeat(node, low, high)

    def _count(self) -> tuple[int, int | None] | None:
        """Read `m}`, `m,}` or `m,n}`; None and nothing read where it is something else."""
        text, end, _ = self._pattern[self._at :].partition("}")
        low, comma, high = text.partition(",")
        if not end or not _is_count(low) or (high and not _is_count(high)):
            return None
        self._at += len(text) + 1
        return int(low), (int(high) if high else None) if comma else int(low)

    def _class(self, at: int) -> Node:
        negated = self._take("^")
        if self._peek("]"):
            raise self._error("']' first in a class is read in two ways; write '\\]':")
        items: list[tuple[Ranges, Ranges]] = []
        while not self._take("]"):
            item = self._class_item(at)
            if isinstance(item, str) and self._peek("-") and not self._peek("-]"):
                self._take("-")
                item = self._range(item, self._class_item(at))
            elif isinstance(item, str):
                item = (set_of(item), set_of(item))
            items.append(item)
        least, most = union(*(item[0] for item in items)), union(*(item[1] for item in items))
        ranges = minus(ALPHABET, most) if negated else common(least, ALPHABET)
        if not ranges:
            raise self._error("a class of no character that can be written", at)
        return self._chars(ranges, at)

    def _chars(self, ranges: Ranges, at: int) -> Chars:
        """One of a set: of the part that a grammar can hold."""
        kept = holdable(ranges)
        if not kept:
            raise self._error(
                f"a class of characters beyond ASCII alone, and of more than {FEW} of them, is not supported:", at
            )
        return Chars(kept)

    def _class_item(self, at: int) -> str | tuple[Ranges, Ranges]:
        character = self._next("'[' without ']'")
        if character == "\\":
            return self._escape(in_class=True)
        if character == "[":
            raise self._error("'[' in a class is read in two ways; write '\\[':", self._at - 1)
        if self._pattern[self._at - 1 : self._at + 1] in ("--", "&&", "~~", "||"):
            raise self._error("a class operation is not supported:", at)
        return character

    def _range(self, low: str, high: str | tuple[Ranges, Ranges]) -> tuple[Ranges, Ranges]:
        if not isinstance(high, str) or high < low:
            raise self._error("a range in a class without two ends in order")
        span = ((ord(low), ord(high)),)
        return span, span

    def _escape(self, *, in_class: bool) -> str | tuple[Ranges, Ranges]:
        """A character, or what certainly is and what may be of a class."""
        at = self._at - 1
        letter = self._next("'\\' at the end")
        if letter in _KINDS:
            return _KINDS[letter]
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter in _HEX_DIGITS:
            return self._writable(self._hexadecimal(_HEX_DIGITS[letter]), at)
        if letter.isdigit() or letter == "k":
            raise self._error("a back reference is not supported:", at)
        if letter in "bBAZz" and not in_class:
            raise self._error(f"'\\{letter}' is not supported:", at)
        if letter.isascii() and letter.isalpha():
            raise self._error(f"'\\{letter}' is not supported:", at)
        return self._writable(letter, at)

    def _hexadecimal(self, digits: int) -> str:
        text = self._pattern[self._at : self._at + digits]
        if len(text) < digits or not all(digit in string.hexdigits for digit in text):
            raise self._error(f"expected {digits} hexadecimal digits")
        self._at += digits
        return chr(int(text, 16))

    def _writable(self, character: str, at: int) -> str:
        if not common(set_of(character), ALPHABET):
            raise self._error(f"a control character, U+{ord(character):04X},", at)
        return character


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
