"""What a request says about the form of its answer, as the models pass it on, and the grammar that it becomes.

It is passed on as the caller wrote it, and the grammar is made where it is used: one that the engine's library cannot
read may cost it its life, so no finished grammar is taken from anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nemotron_serving.errors import InvalidRequestError, shortened
from nemotron_serving.guide import json_nodes
from nemotron_serving.guide.ebnf import render
from nemotron_serving.guide.grammar import (
    ALPHABET,
    Grammar,
    GuideError,
    Node,
    Repeat,
    Seq,
    Text,
    choice,
    minus,
    set_of,
)
from nemotron_serving.guide.keywords import Path, SchemaError, kinds
from nemotron_serving.guide.regex import parse
from nemotron_serving.guide.schema import schema_node

_CACHED_GRAMMARS = 128  # of each kind
_MAX_INPUT_BYTES = 32 * 1024
_MAX_CHOICES = 1000

_FIELD = "response_format"
_STOCK_TYPE = "guided_decoding_guide_type"
_STOCK_GUIDE = "guided_decoding_guide"
_STOCK_TYPES = ("json", "json_schema", "regex")
_TOOLS = "tools"
_ANY_OBJECT = {"type": "object"}


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """The JSON of the `response_format` input."""

    value: str

    def grammar(self) -> str | None:
        """In xgrammar's EBNF; None leaves the answer free.

        Raises:
            InvalidRequestError: what cannot be turned into a grammar, with its place.
        """
        return response_guide(self.value)


class StockGuide(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """NVIDIA's inputs `guided_decoding_guide_type` and `guided_decoding_guide`."""

    guide_type: str
    guide: str

    def grammar(self) -> str | None:
        """See `ResponseFormat.grammar`."""
        return stock_guide(self.guide_type, self.guide)


class ForcedCalls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """A tool has to be called.

    Attributes:
        tools: Name and parameters (a JSON schema as JSON text) of each tool that may be.
        single: Exactly one call, rather than one or more.
    """

    tools: tuple[tuple[str, str], ...]
    open_tag: str
    close_tag: str
    single: bool

    def grammar(self) -> str | None:
        """See `ResponseFormat.grammar`."""
        return tool_guide(self.tools, self.open_tag, self.close_tag, single=self.single)


GuideSpec = ResponseFormat | StockGuide | ForcedCalls


def stock_spec(fields: Mapping[str, Any]) -> StockGuide | None:
    """The guide that NVIDIA's inputs ask for; None for none.

    Raises:
        InvalidRequestError: what cannot be turned into a grammar.
    """
    spec = StockGuide(fields.get(_STOCK_TYPE, ""), fields.get(_STOCK_GUIDE, ""))
    return spec if spec.grammar() is not None else None


@functools.lru_cache(_CACHED_GRAMMARS)
def response_guide(response_format: str) -> str | None:
    """The grammar of an answer.

    Args:
        response_format: JSON of OpenAI's shape, null, {"type": "text" | "json_object" | "json_schema", …}, or
            {"type": "regex", "regex": …} or {"type": "choice", "choice": […]}.

    Returns:
        xgrammar's EBNF with a rule `root`; None where the answer is free.

    Raises:
        InvalidRequestError: what is wrong or not supported, and where.
    """
    _check_size(_FIELD, response_format)
    given = _decode(_FIELD, response_format)
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("type") not in list(_READERS):
        expected = ", ".join(f'"{name}"' for name in _READERS)
        raise InvalidRequestError(_FIELD, f"expected an object whose type is one of {expected}")
    keys, read = _READERS[given["type"]]
    if unknown := given.keys() - {"type", *keys}:
        raise InvalidRequestError(_FIELD, f"{min(unknown)!r} is no part of the type {given['type']!r}")
    try:
        return read(given)
    except GuideError as error:
        raise InvalidRequestError(_FIELD, str(error)) from error


@functools.lru_cache(_CACHED_GRAMMARS)
def stock_guide(guide_type: str, guide: str) -> str | None:
    """The grammar that NVIDIA's two inputs ask for.

    Args:
        guide_type: `guided_decoding_guide_type`: json, json_schema or regex; empty for none.
        guide: `guided_decoding_guide`: the schema as JSON, or the pattern.

    Returns:
        xgrammar's EBNF with a rule `root`; None where the answer is free.

    Raises:
        InvalidRequestError: what is wrong or not supported, and where.
    """
    _check_size(_STOCK_GUIDE, guide)
    if not guide_type:
        if guide:
            raise InvalidRequestError(_STOCK_TYPE, f"missing, expected one of {', '.join(_STOCK_TYPES)}")
        return None
    if guide_type in ("ebnf_grammar", "structural_tag"):
        raise InvalidRequestError(
            _STOCK_TYPE,
            f"{guide_type} is not supported: it cannot be checked here, and one that the engine refuses would stop "
            f"it for everyone; use one of {', '.join(_STOCK_TYPES)}",
        )
    if guide_type not in _STOCK_TYPES:
        raise InvalidRequestError(
            _STOCK_TYPE, f"{shortened(guide_type)} was given, expected one of {', '.join(_STOCK_TYPES)}"
        )
    try:
        if guide_type == "json":
            if guide:
                raise GuideError("the type json takes none; leave it out, or send the type json_schema")
            return _json_object({})
        if guide_type == "json_schema":
            return _of_schema(_decode(_STOCK_GUIDE, guide), "schema")
        return _of_regex(guide)
    except GuideError as error:
        raise InvalidRequestError(_STOCK_GUIDE, str(error)) from error


@functools.lru_cache(_CACHED_GRAMMARS)
def tool_guide(tools: tuple[tuple[str, str], ...], open_tag: str, close_tag: str, *, single: bool) -> str:
    """The grammar of a list of tool calls between its tags.

    Args:
        tools: Name and schema of the parameters, as JSON, of each tool that may be called.
        open_tag: What the model writes before the list.
        close_tag: What it writes after it.
        single: Exactly one call, rather than one or more.

    Returns:
        xgrammar's EBNF with a rule `root`.

    Raises:
        InvalidRequestError: the parameters of all tools are wrong or not supported, and where; or together too much.
    """
    if not tools or not open_tag or not close_tag:
        raise InvalidRequestError(_TOOLS, "a call of one of no tools, or without tags")
    _check_size(_TOOLS, open_tag, close_tag, *(text for tool in tools for text in tool))
    grammar = Grammar()
    call = grammar.rule(choice(*_calls(grammar, tools)))
    more: list[Node] = [] if single else [Repeat(Seq((Text(", "), call)), 0, None)]
    try:
        return render(grammar, Seq((Text(f"{open_tag}["), call, *more, Text(f"]{close_tag}"))))
    except GuideError as error:
        raise InvalidRequestError(_TOOLS, f"the parameters together are {error}") from error


def _at_path(prefix: str, path: Path) -> str:
    """A place in a JSON document, for an error message."""
    return prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _check_size(field: str, *texts: str) -> None:
    """Refuse more than can be turned into a grammar in passing.

    Raises:
        InvalidRequestError: with the size and the limit.
    """
    size = sum(len(text.encode(errors="replace")) for text in texts)
    if size > _MAX_INPUT_BYTES:
        raise InvalidRequestError(field, f"{size} bytes were given, a form may have {_MAX_INPUT_BYTES}")


def _decode(field: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequestError(field, f"not valid JSON: {error}") from error


def _free(_: Mapping[str, Any]) -> None:
    return None


def _json_object(_: Mapping[str, Any]) -> str:
    grammar = Grammar()
    return render(grammar, json_nodes.any_object(grammar))


def _json_schema(given: Mapping[str, Any]) -> str:
    if "schema" in given:
        return _of_schema(given["schema"], "schema")
    outer = given.get("json_schema")
    if not isinstance(outer, dict) or "schema" not in outer:
        raise GuideError('a json_schema needs {"json_schema": {"name": …, "schema": {…}}}')
    if unknown := outer.keys() - {"name", "description", "schema", "strict"}:
        raise GuideError(f"json_schema: {min(unknown)!r} is no part of it")
    return _of_schema(outer["schema"], "json_schema.schema")


def _of_schema(schema: Any, prefix: str) -> str:
    grammar = Grammar()
    try:
        return render(grammar, schema_node(grammar, schema))
    except SchemaError as error:
        raise GuideError(f"{_at_path(prefix, error.path)}: {error}") from error
    except GuideError as error:
        raise GuideError(f"{prefix}: {error}") from error


def _regex(given: Mapping[str, Any]) -> str:
    if not isinstance(given.get("regex"), str):
        raise GuideError('a regex needs {"regex": "…"}')
    return _of_regex(given["regex"])


def _of_regex(pattern: str) -> str:
    try:
        return render(Grammar(), parse(pattern))
    except GuideError as error:
        raise GuideError(f"regex: {error}") from error


def _choice(given: Mapping[str, Any]) -> str:
    texts = given.get("choice")
    if not isinstance(texts, list) or not 1 <= len(texts) <= _MAX_CHOICES:
        raise GuideError(f'a choice needs {{"choice": […]}} with 1 to {_MAX_CHOICES} texts')
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text or minus(set_of(text), ALPHABET):
            raise GuideError(f"choice[{index}]: expected a text that is not empty and has no control characters")
    options: list[Node] = [Text(text) for text in dict.fromkeys(texts)]
    return render(Grammar(), choice(*options))


_READERS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], str | None]]] = {
    "text": ((), _free),
    "json_object": ((), _json_object),
    "json_schema": (("json_schema", "schema", "name", "description", "strict"), _json_schema),
    "regex": (("regex",), _regex),
    "choice": (("choice",), _choice),
}
"""Per type: the keys beside it, and who reads them."""


def _calls(grammar: Grammar, tools: tuple[tuple[str, str], ...]) -> list[Node]:
    """A call of each tool. Arguments that cannot be held are any object, as long as those of another tool can."""
    calls: list[Node] = []
    refusals: list[InvalidRequestError] = []
    for index, (name, parameters) in enumerate(tools):
        try:
            arguments = _arguments(grammar, f"tools[{index}].function.parameters", parameters)
        except InvalidRequestError as error:
            refusals.append(error)
            arguments = schema_node(grammar, _ANY_OBJECT)
        calls.append(
            json_nodes.record(grammar, [("name", json_nodes.literal(name), True), ("arguments", arguments, True)])
        )
    if len(refusals) == len(tools):
        raise refusals[0]
    return calls


def _arguments(grammar: Grammar, place: str, parameters: str) -> Node:
    schema = _parameters(place, parameters)
    try:
        if not schema.keys() & {"type", "$ref", "allOf"}:
            schema["type"] = "object"
        arguments = schema_node(grammar, schema)
        if kinds(schema, schema) != {"object"}:
            raise GuideError("arguments are an object, expected 'type': 'object'")
    except SchemaError as error:
        raise InvalidRequestError(_TOOLS, f"{_at_path(place, error.path)}: {error}") from error
    except GuideError as error:
        raise InvalidRequestError(_TOOLS, f"{place}: {error}") from error
    return arguments


def _parameters(place: str, parameters: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(parameters, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequestError(_TOOLS, f"{place}: {error}. Expected a JSON schema.") from error
