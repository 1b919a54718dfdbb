from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.guide import response_guide
from tests.unit.serving.guide.ebnf import Ebnf
from tests.unit.serving.guide.schemas import PATTERNS


def guide_of(pattern: str) -> str:
    guide = response_guide(json.dumps({"type": "regex", "regex": pattern}))
    assert guide is not None
    return guide


def python_form(pattern: str) -> str:
    """Python spells named groups otherwise than ECMAScript."""
    return pattern.replace("(?<name>", "(?P<name>")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_text_of_a_grammar_matches_the_pattern_as_a_whole(pattern: str) -> None:
    grammar = Ebnf(guide_of(pattern))
    for seed in range(80):
        text = grammar.sample(random.Random(seed))
        assert re.fullmatch(python_form(pattern), text), repr(text)
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text)


_ATOMS = st.sampled_from(
    ["a", "b", "é", "\\.", "\\-", "[ab]", "[^a]", "[a-z0-9_]", "\\d", "\\w", "\\s", "\\D", "\\S", "."]
)
_COUNTS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}", "{0,20}", "{2,}", "*?", "+?"])
_PARTS = st.builds("{}{}".format, _ATOMS, _COUNTS)
_GROUPS = st.builds(
    "({}{}){}".format, st.sampled_from(["", "?:"]), st.lists(_PARTS, min_size=1, max_size=3).map("|".join), _COUNTS
)
_PATTERNS = st.lists(st.one_of(_PARTS, _GROUPS), max_size=5).map("".join)


@given(_PATTERNS, st.booleans(), st.booleans(), st.randoms())
def test_any_pattern_is_refused_or_kept(pattern: str, begin: bool, end: bool, rng: random.Random) -> None:
    if "|" not in pattern:
        pattern = begin * "^" + pattern + end * "$"
    try:
        grammar = Ebnf(guide_of(pattern))
    except InvalidRequestError as error:
        assert "read in too many ways" in str(error)
        return
    for _ in range(10):
        assert re.fullmatch(pattern, grammar.sample(rng))


@given(st.text(alphabet="ab()[]{}|*+?^$.\\-,:=!<>Pdn012 é\n\x00", max_size=20))
def test_what_python_refuses_is_refused(pattern: str) -> None:
    """And the error is always the caller's."""
    try:
        guide_of(pattern)
    except InvalidRequestError:
        return
    re.compile(re.sub(r"\(\?<(?=[^=!])", "(?P<", pattern))


REFUSED = [
    ("(?=a)", "lookahead '(?=' is not supported: at character 1"),
    ("a(?!b)", "lookahead '(?!' is not supported: at character 2"),
    ("(?<=a)b", "lookbehind '(?<='"),
    ("(?<!a)b", "lookbehind '(?<!'"),
    ("(?i)a", "inline flags '(?'"),
    ("(?i:a)", "inline flags '(?'"),
    ("(?>a)", "an atomic group"),
    ("(?#a)", "a comment"),
    ("(a)(?(1)b)", "a condition"),
    ("(a)\\1", "a back reference"),
    ("(?P<x>a)(?P=x)", "a back reference"),
    ("(?<x>a)\\k<x>", "a back reference"),
    ("(?<1>a)", "'1' is no group name"),
    ("\\bword", "'\\\\b' is not supported"),
    ("\\Aa", "'\\\\A' is not supported"),
    ("\\p{L}", "'\\\\p' is not supported"),
    ("a^b", "'^' is supported at the beginning only: at character 2"),
    ("a$b", "'$' is supported at the end only: at character 2"),
    ("(a$|b)c", "'$' is supported at the end only: at character 3"),
    ("(^a)+", "'^' or '$' in what is repeated"),
    ("(a$){2}", "'^' or '$' in what is repeated"),
    ("a++", "a possessive repetition"),
    ("a**", "a repetition of a repetition"),
    ("*a", "nothing to repeat at character 1"),
    ("a|{2}", "nothing to repeat"),
    ("a{,3}", "'{' is not a repetition"),
    ("a{3,2}", "at least 3 and at most 2"),
    ("a{5000}", "5000 repetitions, expected at most 4096"),
    ("(a", "'(' without ')'"),
    ("a)", "')' without '('"),
    ("[a", "'[' without ']'"),
    ("[]a]", "']' first in a class"),
    ("[[a]", "'[' in a class"),
    ("[a&&b]", "a class operation"),
    ("[b-a]", "a range in a class"),
    ("[\\d-z]" + "[a-\\d]", "a range in a class"),
    ("a\\", "'\\\\' at the end"),
    ("\\x4", "expected 2 hexadecimal digits"),
    ("\\x00", "a control character, U+0000"),
    ("\x7f", "a control character, U+007F"),
    ("[\\x01]", "a control character"),
    ("[^\\s\\S]", "a class of no character"),
    (
        "ab[一-龥]",
        "a class of characters beyond ASCII alone, and of more than 32 of them, is not supported: at character 3",
    ),
    (
        "[À-ÿ]|a",
        "a class of characters beyond ASCII alone, and of more than 32 of them, is not supported: at character 1",
    ),
    ("a" * 1025, "a pattern of 1025 characters, expected at most 1024"),
    ("(" * 40 + ")" * 40, "nested more than 30 deep"),
]


@pytest.mark.parametrize(("pattern", "message"), REFUSED)
def test_what_is_not_supported_is_named_with_its_place(pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        guide_of(pattern)
    assert str(caught.value).startswith("response_format: regex: ")
    assert message.replace("\\\\", "\\") in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "([a-z]{0,60})*",
        "([a-z]{0,60}){0,60}",
        "([a-z]+ ?)+",
        "(a?)*",
        "(a|ab)*",
        "([a-z]*)*b",
        ".*( [a-z]+)?",
        ".*(\\w+ )+x",
        "[a-z ]{0,60}[a-y ]{0,60}",
        "(.+, ){1,10}.+",
    ],
)
def test_what_would_take_an_engine_long_at_every_token_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequestError, match="can be read in too many ways"):
        guide_of(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(\w+ )*\w+$",
        r"^.*(foo|bar).*$",
        r"\w+(\s*,\s*\w+)*",
        r"^[^@]+@([a-z]+\.)+[a-z]{2,}$",
        r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$",
        r"^\+?[0-9]{1,3}[- ]?[0-9]{3,14}$",
        r"^https?://[^\s/]+(/\S*)?$",
        r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$",
        r"^[A-Z][a-z]+( [A-Z][a-z]+){1,3}$",
        r"^(?:[A-Z]{2}\d{2} ?)(?:\d{4} ?){2,6}$",
        "|".join(f"word{number}" for number in range(100)),
    ],
)
def test_ordinary_patterns_are_not(pattern: str) -> None:
    assert guide_of(pattern)
