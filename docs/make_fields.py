"""Writes docs/openai/fields.md from the front's table of fields: `python docs/make_fields.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from nemotron_front import anthropic, responses
from nemotron_front.fields import CHAT, COMPLETIONS
from nemotron_front.reading import Field, Fields, shown

PAGE = Path(__file__).parent / "openai" / "fields.md"
HEAD = """# Request fields

Every field of a body for `/v1/chat/completions`: OpenAI's, what clients of other servers send, and the options of this
server under their own names. Made from the front's table by `make docs`; do not edit.

A field is honoured, ignored because it cannot change the answer, or refused with status 400 and its name in `param`;
none is taken and dropped. What is in none of these tables is refused with the code `unknown_parameter`. A field that is
`null`, or an empty list, is not there. `a.b` is the field `b` of the object `a`.
"""
HONOURED = """## Honoured

Of two fields that say the same, the one further up is listened to. What an engine cannot do is refused by the server,
with the name of the field.
"""
IGNORED = """## Ignored

Their values are not looked at.
"""
REFUSED = """## Refused

Unless the value asks nothing.
"""
COMPLETION = """## Completions

`/v1/completions` has these fields:
"""
OWN_REFUSED = """It refuses these, unless the value asks nothing:
"""
NOT_THERE = "All others are as above, but for these, which it does not know: {names}."

RESPONSES = """## Responses

`/v1/responses` has these fields, and all others of chat completions:
"""
MESSAGES = """## Messages

`/v1/messages` has these fields, and all others of chat completions:
"""
OWN_IGNORED = """It ignores these:
"""


def page() -> str:
    """The page."""
    own = [row for row in COMPLETIONS.rows if row not in CHAT.rows]
    known = {row.name for row in COMPLETIONS.rows}
    missing = [_code(row.name) for row in CHAT.rows if row.name not in known]
    parts = [
        *(HEAD, HONOURED, _honoured(_of(CHAT.rows, "honoured")), IGNORED, _ignored(_of(CHAT.rows, "ignored"))),
        *(REFUSED, _refused(_of(CHAT.rows, "refused"))),
        *(COMPLETION, _honoured(_of(own, "honoured"))),
        *(OWN_REFUSED, _refused(_of(own, "refused")), NOT_THERE.format(names=", ".join(missing)), ""),
        *(RESPONSES, *_own(responses.FIELDS), MESSAGES, *_own(anthropic.FIELDS)),
    ]
    return "\n".join(parts)


def _own(fields: Fields) -> list[str]:
    rows = fields.rows
    return [
        *(_honoured(_of(rows, "honoured")), OWN_IGNORED, _ignored(_of(rows, "ignored"))),
        *(OWN_REFUSED, _refused(_of(rows, "refused"))),
    ]


def _of(rows: Iterable[Field], use: str) -> list[Field]:
    return [row for row in rows if row.use == use]


def _honoured(rows: list[Field]) -> str:
    lines = [(names, _value(row), row.doc) for names, row in _grouped(rows)]
    return _table(("field", "value", ""), lines)


def _ignored(rows: list[Field]) -> str:
    return _table(("field", ""), [(names, row.doc) for names, row in _grouped(rows)])


def _refused(rows: list[Field]) -> str:
    lines = [(names, ", ".join(_code(shown(one)) for one in row.only), row.doc) for names, row in _grouped(rows)]
    return _table(("field", "asks nothing", "instead"), lines)


def _value(row: Field) -> str:
    return row.expected.removeprefix("an ").removeprefix("a ")


def _grouped(rows: list[Field]) -> Iterator[tuple[str, Field]]:
    """Fields of which the same is said, in one line."""
    groups: dict[tuple[str, str, str], list[Field]] = {}
    for row in rows:
        groups.setdefault((row.doc, row.expected, str(row.only)), []).append(row)
    for group in groups.values():
        yield ", ".join(_code(row.name) for row in group), group[0]


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rule = ("---",) * len(head)
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in (head, rule, *lines)
    )


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page())
