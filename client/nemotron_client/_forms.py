"""Python types as what the server is asked for and as what reads its JSON: pydantic's work, in our words.

docs/structured-answers.md says which schemas the server follows. Errors about a value name its place and what its type
expects, never the value itself: it is a part of an answer. pydantic and docstring_parser are loaded when the first type
is looked at, for programs that use none.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from nemotron_client._schemas import followable, generator, hints_of

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator, ValidationError

REQUIRED: Final = dataclasses.MISSING
_ANSWER = "answer"
_EXACT = 2**53  # floats hold every integer up to here


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a function.

    Attributes:
        annotation: Its type.
        description: What it is, for the model; empty for nothing.
        default: What it is when it is left out; REQUIRED where it may not be.
    """

    annotation: Any
    description: str
    default: Any


class NotJsonError(ValueError):
    """The text is not JSON."""


class Form:
    """A type, or the parameters of a function: as a JSON schema, and as what makes objects of JSON.

    Attributes:
        schema: The schema, with its `$defs`.
    """

    def __init__(self, validator: SchemaValidator, schema: dict[str, Any], *, wrapped: bool) -> None:
        """Made by `form_of` and `parameters_form`.

        Args:
            validator: Reads an object.
            schema: The schema.
            wrapped: Whether the validator's object has the value as its only field, `answer`.
        """
        self.schema = schema
        self._validator = validator
        self._wrapped = wrapped
        self._names = frozenset(_property_names(schema))

    def read(self, text: str, *, quoting: bool = False) -> Any:
        """The object that the JSON stands for; of parameters, a dict of those that it has.

        Args:
            text: The JSON.
            quoting: Whether an error may quote a validator of the caller's, whose words may hold the value.

        Raises:
            NotJsonError: it is not JSON.
            ValueError: it does not fit. The message says where, and what is expected.
        """
        from pydantic_core import ValidationError

        try:
            given = json.loads(text, parse_float=_number)
            plain = json.dumps({_ANSWER: given} if self._wrapped else given, ensure_ascii=False)
            plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of a pair are no text
        except (ValueError, RecursionError):
            raise NotJsonError("not valid JSON") from None
        try:
            made = self._validator.validate_json(plain)
        except ValidationError as error:
            told = self._told(error, given, quoting)
        except TypeError as error:  # raised by a __post_init__; pydantic lets it pass
            told = f"the whole: {error if quoting else type(error).__name__}"
        else:
            return made[_ANSWER] if self._wrapped else made
        raise ValueError(told)  # without pydantic's own error, which has the value

    def _told(self, error: ValidationError, given: Any, quoting: bool) -> str:
        parts = []
        for one in error.errors(include_url=False, include_input=False):
            place = self._place(one["loc"][self._wrapped :], given) or "the whole"
            parts.append(f"{place}: {one['msg'] if quoting else _words(one)}")
        return "; ".join(parts)

    def _place(self, location: tuple[int | str, ...], given: Any) -> str:
        """Where an error is, without names that only the given value has."""
        at, parts = given, []
        for one in location:
            if isinstance(at, dict) and str(one) in at:
                at = at[str(one)]
                parts.append(f".{one}" if one in self._names else "[…]")
            elif isinstance(one, int):
                at = at[one] if isinstance(at, list) and one < len(at) else None
                parts.append(f"[{one}]")
            else:  # a field that is missing, or a member of a union
                parts.append(f".{one}")
        return "".join(parts).removeprefix(".")


def form_of(annotation: Any, where: str) -> Form:
    """The form of a type.

    Args:
        annotation: The type.
        where: What it is the type of, for the error.

    Raises:
        TypeError: a type, perhaps within this one, that is not supported.
    """
    if inspect.isroutine(annotation):  # to pydantic, the type of its arguments
        raise TypeError(f"{where}: a function was given, expected a type")
    validator, whole = _adapted({_ANSWER: Parameter(annotation, "", REQUIRED)}, where)
    schema = whole["properties"][_ANSWER]
    return Form(validator, schema | {"$defs": whole["$defs"]} if "$defs" in whole else schema, wrapped=True)


def parameters_form(parameters: Mapping[str, Parameter], where: str) -> Form:
    """The form of an object with these parameters. Raises what `form_of` raises."""
    validator, schema = _adapted(parameters, where)
    for name, parameter in parameters.items():
        described = schema["properties"][name]
        if parameter.description:
            described.setdefault("description", parameter.description)
        default = parameter.default.value if isinstance(parameter.default, enum.Enum) else parameter.default
        if isinstance(default, (str, int, float)):
            described["default"] = default
    return Form(validator, schema, wrapped=False)


def _adapted(parameters: Mapping[str, Parameter], where: str) -> tuple[SchemaValidator, dict[str, Any]]:
    """What reads an object with these values, and the schema of such objects.

    The object is a TypedDict, whose settings go for all within it but for pydantic's models, which have their own:
    nothing is converted but an integer to a float, and no unknown name is taken.
    """
    import pydantic
    import pydantic_core
    import typing_extensions

    fields: dict[str, Any] = {}
    try:
        for name, one in parameters.items():
            if sys.version_info < (3, 12):
                _enable_typed_dicts(one.annotation, set())
            kind = _in_pydantic_words(one.annotation)
            fields[name] = (
                typing_extensions.Required[kind] if one.default is REQUIRED else typing_extensions.NotRequired[kind]
            )
        record = typing_extensions.TypedDict("record", fields)  # type: ignore[misc]
        record.__pydantic_config__ = pydantic.ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)  # type: ignore[attr-defined]
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(record)
        schema = adapter.json_schema(schema_generator=generator())
        validator = pydantic_core.SchemaValidator(_for_json(adapter.core_schema))
    except (pydantic.errors.PydanticUserError, pydantic_core.SchemaError, NameError, TypeError) as error:
        reason = str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
        raise TypeError(
            f"{where}: a type is not supported ({reason}), expected str, int, float, bool, None, Any, list, tuple, "
            "dict with str keys, Literal, an Enum, a union of these, a dataclass, a TypedDict, a pydantic model, or "
            "what else pydantic reads from JSON"
        ) from None
    return validator, followable(schema)


def _in_pydantic_words(annotation: Any) -> Any:
    """The type in pydantic's words: a text beside it is its description, and `typing.Tuple` alone is any tuple."""
    from pydantic import Field

    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        notes = [Field(description=note) if isinstance(note, str) else note for note in arguments[1:]]
        return Annotated[(_in_pydantic_words(arguments[0]), *notes)]
    if not arguments:
        return annotation if annotation == tuple[()] else origin
    words = tuple(map(_in_pydantic_words, arguments))
    if origin in (typing.Union, types.UnionType):
        return typing.Union[words]  # noqa: UP007 - it is computed
    return origin[words]


def _for_json(core: Any) -> Any:
    """What pydantic validates by, so that it reads from JSON what types say of objects.

    Members of an enum in a Literal are their values, an iterable is a list, of a union the first that fits is taken.
    Within pydantic's models all is left as it is.
    """
    if isinstance(core, list):
        return list(map(_for_json, core))
    if not isinstance(core, dict) or core.get("type") == "model":
        return core
    made = {name: _for_json(part) for name, part in core.items()}
    if made.get("type") == "generator":
        return made | {"type": "list"}
    if made.get("type") == "union":
        return made | {"mode": "left_to_right"}
    if made.get("type") == "literal":
        return _literal(made)
    return made


def _literal(core: dict[str, Any]) -> dict[str, Any]:
    members = {one.value: one for one in core["expected"] if isinstance(one, enum.Enum)}
    if not members:
        return core
    values = [one.value if isinstance(one, enum.Enum) else one for one in core["expected"]]
    member = {"type": "no-info", "function": lambda value: members.get(value, value)}
    return {"type": "function-after", "function": member, "schema": core | {"expected": values}}


def _enable_typed_dicts(annotation: Any, seen: set[Any]) -> None:
    """Have pydantic take the TypedDicts within a type: before Python 3.12 it takes those of typing_extensions alone."""
    for argument in typing.get_args(annotation):
        _enable_typed_dicts(argument, seen)
    is_typed_dict = typing.is_typeddict(annotation)
    is_dataclass = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
    if (is_typed_dict or is_dataclass) and annotation not in seen:
        seen.add(annotation)
        hints = hints_of(annotation, annotation.__name__)
        if is_typed_dict and type(annotation).__module__ == "typing":
            _stand_in(annotation, hints)
        for hint in hints.values():
            _enable_typed_dicts(hint, seen)


def _stand_in(kind: Any, hints: Mapping[str, Any]) -> None:
    """Have pydantic take another TypedDict, of typing_extensions, for this one."""
    import typing_extensions

    marks = {True: typing_extensions.Required, False: typing_extensions.NotRequired}
    fields = {
        name: hint if typing.get_origin(hint) in marks.values() else marks[name in kind.__required_keys__][hint]
        for name, hint in hints.items()
    }
    make: Any = typing_extensions.TypedDict
    twin = make(kind.__name__, fields)
    twin.__doc__, twin.__module__, twin.__qualname__ = kind.__doc__, kind.__module__, kind.__qualname__
    if config := getattr(kind, "__pydantic_config__", None):
        twin.__pydantic_config__ = config
    kind.__get_pydantic_core_schema__ = classmethod(lambda _cls, _source, handler: handler.generate_schema(twin))


def _property_names(schema: Any) -> Iterator[str]:
    """The names of all fields within a schema."""
    if isinstance(schema, dict):
        if isinstance(properties := schema.get("properties"), dict):
            yield from properties
        for part in schema.values():
            yield from _property_names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _property_names(part)


# What comes from the type in pydantic's words. All else may hold the value: what a validator says, for one.
_OF_THE_TYPE = frozenset(
    (
        *("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "actual_length", "field_type"),
        *("class", "class_name", "pattern", "expected", "expected_tags", "discriminator", "expected_schemes"),
        *("expected_version", "max_digits", "decimal_places", "whole_digits", "encoding"),
    )
)


def _words(error: Mapping[str, Any]) -> str:
    """What pydantic says of a value, without what comes from the value."""
    from pydantic_core import PydanticKnownError

    context = {name: one if name in _OF_THE_TYPE else "…" for name, one in error.get("ctx", {}).items()}
    try:
        return PydanticKnownError(error["type"], context or None).message().removesuffix(", …")
    except (KeyError, TypeError, ValueError):
        return "a check of its type has failed"


def _number(text: str) -> float:
    """A number with a point. 1.0 is an integer to JSON Schema, but not to pydantic."""
    value = float(text)
    return int(value) if abs(value) <= _EXACT and value.is_integer() else value
