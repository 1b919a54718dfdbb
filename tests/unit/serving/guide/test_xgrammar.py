"""The grammars as the serving image's xgrammar reads them: all of their texts, and nothing that breaks the promise.

`make test-image` has that release. A text of a grammar alone does not show what else is let through, so texts are
changed here and there, and what is still accepted has to fit.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest

from nemotron_serving.guide import response_guide
from tests.unit.serving.guide.ebnf import Ebnf
from tests.unit.serving.guide.schemas import PATTERNS, SCHEMAS, record, string

xgrammar = pytest.importorskip("xgrammar", reason="needs xgrammar: make test-image")

# What ends strings and lines, what patterns speak of, and of what lies beyond ASCII one of each length in UTF-8.
CHARACTERS = '"\\\n\t\x07\x1f\x7f !@-,:.{}[]^aZz09_é\x80\xa0\u200b\u2028日\u3000🙂'
CLASSES = [
    r"\S+",
    r"^[^@\s]+@[^@\s]+$",
    r"^[^\s]{2,5}$",
    r"[^\sé]{3}",
    r"[\u200b-\u2027a-f]{2}",
    r"[a-zÀ-ÿ' ]{1,20}",
    r"(\S{1,8} ){2}\S{1,8}",
    r"[^\"\\]{1,40}",
    r"[^日]{2}x?",
    r"\D\W\S",
    r"[\S ]{4}",
    r"\S{12,40}@\S",
]


@cache
def accepts_of(guide: str) -> Callable[[str], bool]:
    """Whether xgrammar takes a text and its end. The vocabulary is single bytes and an end.

    The end has no bytes: xgrammar 0.2 would also take what it had for text of the grammar.
    """
    end = 256
    info = xgrammar.TokenizerInfo([bytes([value]) for value in range(end)] + [b""], stop_token_ids=[end])
    compiled = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False).compile_grammar(
        xgrammar.Grammar.from_ebnf(guide)
    )

    def accepts(text: str) -> bool:
        matcher = xgrammar.GrammarMatcher(compiled)
        return all(matcher.accept_token(value) for value in text.encode()) and bool(matcher.accept_token(end))

    return accepts


def changed(text: str, rng: random.Random) -> Iterator[str]:
    """The text with a character more, less, or another, and cut off."""
    for _ in range(12):
        at = rng.randrange(len(text) + 1)
        new = rng.choice(CHARACTERS)
        yield text[:at] + new + text[at:]
        yield text[:at] + new + text[at + 1 :]
        yield text[:at] + text[at + 1 :]
    yield text[: rng.randrange(len(text) + 1)]


def check(guide: str, fits: Callable[[str], bool], texts: int = 12) -> None:
    grammar, accepts = Ebnf(guide), accepts_of(guide)
    for seed in range(texts):
        rng = random.Random(seed)
        text = grammar.sample(rng)
        assert accepts(text), f"refuses {text!r}"
        assert fits(text), text
        for other in changed(text, rng):
            assert fits(other) or not accepts(other), f"takes {other!r}"


def guide_of(response_format: dict[str, Any]) -> str:
    guide = response_guide(json.dumps(response_format))
    assert guide is not None
    return guide


def fits_schema(schema: dict[str, Any], pattern: str | None = None) -> Callable[[str], bool]:
    """`pattern` is that of all strings, which JSON Schema searches and the guide matches as a whole."""

    def fits(text: str) -> bool:
        try:
            value = json.loads(text)
        except ValueError:
            return False
        if not jsonschema.Draft202012Validator(schema).is_valid(value):
            return False
        return pattern is None or bool(re.fullmatch(pattern, value["text"]))

    return fits


@pytest.mark.parametrize("pattern", [*PATTERNS, *CLASSES])
def test_a_pattern(pattern: str) -> None:
    python_form = pattern.replace("(?<name>", "(?P<name>")
    check(guide_of({"type": "regex", "regex": pattern}), lambda text: bool(re.fullmatch(python_form, text)))


@pytest.mark.parametrize("pattern", CLASSES)
def test_a_string_with_a_pattern_is_json(pattern: str) -> None:
    schema = {**record(text=string(pattern=pattern)), "required": ["text"]}
    check(guide_of({"type": "json_schema", "schema": schema}), fits_schema(schema, pattern))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema(name: str) -> None:
    check(guide_of({"type": "json_schema", "schema": SCHEMAS[name]}), fits_schema(SCHEMAS[name]), texts=5)


def test_any_object() -> None:
    check(guide_of({"type": "json_object"}), fits_schema({"type": "object"}))
