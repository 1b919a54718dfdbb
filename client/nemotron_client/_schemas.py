"""JSON schemas of Python types: those of pydantic, with what docstrings say, as far as the server can hold them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NotRequired, Required

if TYPE_CHECKING:
    from docstring_parser import Docstring
    from pydantic.json_schema import GenerateJsonSchema


def hints_of(subject: Any, where: str) -> dict[str, Any]:
    """The annotations of a function or a class, without quotes.

    Raises:
        TypeError: one that cannot be understood.
    """
    try:
        return typing.get_type_hints(subject, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        message = f"{where}: an annotation cannot be read ({error}); its types have to be names of the module"
        raise TypeError(message) from None


def summary(text: str | None) -> str:
    """The first paragraph of a docstring on one line; empty where there is none."""
    described = _parsed(text).description or ""
    return _on_one_line(described.partition("\n\n")[0])


def descriptions(text: str | None) -> dict[str, str]:
    """What a docstring in Google's, NumPy's or Sphinx' style says of each parameter or attribute, on one line each."""
    return {
        name.strip().lstrip("*"): _on_one_line(one.description)
        for one in _parsed(text).params
        for name in one.arg_name.split(",")  # NumPy's style lets several share a description
        if one.description
    }


def _parsed(text: str | None) -> Docstring:
    import docstring_parser

    try:
        return docstring_parser.parse(text or "")
    except Exception:  # it stumbles over odd ones, and with more than its ParseError: then there is only the text
        plain = docstring_parser.Docstring()
        plain.short_description = inspect.cleandoc(text or "")
        return plain


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


@functools.cache
def generator() -> type[GenerateJsonSchema]:
    """What makes pydantic's schemas: a class that is made when pydantic is needed."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Leaves out what only repeats a name, puts in what docstrings say, and refers only to what is shared."""

        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in pydantic
        _shared: frozenset[str] = frozenset()

        def definitions_schema(self, schema: Any) -> dict[str, Any]:
            self._shared |= {one["ref"] for one in schema["definitions"]}
            return super().definitions_schema(schema)

        def generate_inner(self, schema: Any) -> dict[str, Any]:
            if schema["type"] == "enum":
                schema = _without(schema, "metadata")  # which would add its name
            return super().generate_inner(schema if schema.get("ref") in self._shared else _without(schema, "ref"))

        def sort(self, value: Any, parent_key: str | None = None) -> Any:  # noqa: ARG002 - pydantic's name
            return value  # the type before the properties, as models have seen it

        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's name
            return False

        def enum_schema(self, schema: Any) -> dict[str, Any]:
            return _without(super().enum_schema(schema), "title", "description")

        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            made = _told(super().dataclass_schema(schema), schema["cls"])
            for field in dataclasses.fields(schema["cls"]):
                if not field.init:
                    made["properties"].pop(field.name, None)
            return made

        def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
            return _told(super().typed_dict_schema(schema), schema["cls"])

    return Generator


def _told(schema: dict[str, Any], kind: type) -> dict[str, Any]:
    """The schema of a class with what its docstring and its annotations say of each field, in place of its name."""
    told = descriptions(kind.__doc__)
    for name, hint in hints_of(kind, kind.__name__).items():
        if typing.get_origin(hint) in (Required, NotRequired):
            (hint,) = typing.get_args(hint)  # noqa: PLW2901 - what they are of
        notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, str)]
        told |= {name: notes[0]} if notes else {}
    for name in schema["properties"].keys() & told.keys():
        schema["properties"][name].setdefault("description", told[name])
    return _without(schema, "title", "description", "additionalProperties")


def _without(schema: dict[str, Any], *keywords: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in keywords}


# What the server can hold an answer to, with what it is for. All else pydantic sees to when the answer is read.
_HELD = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "$defs", "$ref", "anyOf", "oneOf", "allOf"),
        *("type", "enum", "const", "minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("items", "prefixItems", "minItems", "maxItems"),
        *("properties", "required", "additionalProperties"),
        *("propertyNames", "patternProperties", "minProperties", "maxProperties"),
    )
)
_FORMATS = frozenset(
    ("date", "time", "date-time", "duration", "uuid", "email", "ipv4", "ipv6", "hostname", "uri", "password")
)
_LOW, _HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_MOST_DIGITS = 10**15  # the server's numbers stay below


def followable(schema: dict[str, Any]) -> dict[str, Any]:
    """What the server can hold of a schema that pydantic has made."""
    kept: dict[str, Any] = _followable(schema, frozenset(_tags(schema)))
    return kept


def _tags(schema: Any) -> Iterator[str]:
    """The properties that tell the members of a union apart."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    mark = schema.get("discriminator") if isinstance(schema, dict) else None
    if isinstance(mark, dict) and isinstance(name := mark.get("propertyName"), str):
        yield name
    for part in parts:
        yield from _tags(part)


def _followable(schema: Any, tags: frozenset[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs", "patternProperties"):
            kept[keyword] = {name: _followable(one, tags) for name, one in value.items()}
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            # One tagged by a discriminator cannot fit two, which the server need not prove.
            name = "anyOf" if keyword == "oneOf" and "discriminator" in schema else keyword
            kept[name] = [_followable(one, tags) for one in value]
        elif keyword in ("items", "additionalProperties", "propertyNames"):
            kept[keyword] = _followable(value, tags)
        elif keyword in _HELD:
            kept[keyword] = value
    # A tag with a default may be left out for the schema, but not for pydantic.
    if missing := tags & kept.get("properties", {}).keys() - set(kept.get("required", ())):
        kept["required"] = [*kept.get("required", ()), *sorted(missing)]
    _loosen_text(kept)
    _loosen_bounds(kept)
    _loosen_counts(kept)
    return kept


def _loosen_text(schema: dict[str, Any]) -> None:
    """The server holds one of lengths, a pattern and a format."""
    if "pattern" in schema or schema.get("format") not in _FORMATS:
        schema.pop("format", None)
    if "pattern" in schema or "format" in schema:
        for keyword in ("minLength", "maxLength"):
            schema.pop(keyword, None)


def _loosen_bounds(schema: dict[str, Any]) -> None:
    """The server's bounds of numbers are integers."""
    if schema.get("type") == "integer":
        return
    for keywords, rounded in ((_LOW, math.floor), (_HIGH, math.ceil)):
        for keyword in keywords:
            bound = schema.get(keyword)
            if bound is not None and abs(bound) < _MOST_DIGITS:
                schema[keyword] = rounded(bound)
            else:
                schema.pop(keyword, None)


def _loosen_counts(schema: dict[str, Any]) -> None:
    """The server cannot see that a name comes twice, nor choose among names."""
    if "minProperties" in schema:
        schema["minProperties"] = min(schema["minProperties"], 1)
    if "propertyNames" in schema:
        schema.pop("maxProperties", None)
    if len(schema.get("patternProperties", "1")) != 1:
        del schema["patternProperties"]
