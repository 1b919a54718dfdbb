"""Python types as JSON schemas that the server can follow, and JSON values as objects of these types.

docs/structured-answers.md says which schemas those are. Errors about a value name its place and its kind, never the
value itself: it is a part of an answer.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from nemotron_client import _docstrings, _pydantic

Read = Callable[[Any, str], Any]
"""Takes a JSON value and its place, and makes the object. Raises ValueError for a value that does not fit."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A type, as a JSON schema and as what makes its objects."""

    schema: dict[str, Any]
    read: Read


@dataclasses.dataclass(frozen=True)
class Field:
    """A parameter of a function, or a field of a class.

    Attributes:
        annotation: Its type.
        description: For the model; empty for none.
        default: What it is when it is left out; REQUIRED where it may not be, None too for what JSON cannot show.
    """

    annotation: Any
    description: str
    default: Any


REQUIRED: typing.Final = dataclasses.MISSING


def form_of(annotation: Any, where: str) -> Form:
    """The form of a type.

    Args:
        annotation: The type.
        where: What it is the type of, for the error.

    Raises:
        TypeError: a type, perhaps within this one, that is not supported.
    """
    maker = _Maker()
    return maker.whole(maker.form(annotation, where))


def record_of(fields: Mapping[str, Field], where: str) -> Form:
    """The form of an object with these fields, read as a dict. Raises what `form_of` raises."""
    maker = _Maker()
    return maker.whole(maker.record(fields, where))


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


class _Maker:
    """Makes the forms of one schema, whose types may refer to each other."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._made: dict[type, Form] = {}
        self._open: list[type] = []  # whose fields are being looked at
        self._recursive: set[type] = set()
        self._by_origin: dict[Any, Callable[[tuple[Any, ...], str], Form]] = {
            Annotated: self._annotated,
            Literal: self._literal,
            **dict.fromkeys((Union, types.UnionType), self._union),
            **dict.fromkeys((list, Sequence, Iterable), self._list),
            tuple: self._tuple,
            **dict.fromkeys((dict, Mapping), self._mapping),
        }

    def whole(self, form: Form) -> Form:
        """The form with the definitions that it refers to."""
        return Form(form.schema | {"$defs": self._definitions}, form.read) if self._definitions else form

    def form(self, annotation: Any, where: str) -> Form:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if make := self._by_origin.get(origin or annotation):
            return make(arguments, where)
        if origin is None and isinstance(annotation, type):
            return self._class(annotation, where)
        raise _unsupported(annotation, where)

    def record(self, fields: Mapping[str, Field], where: str) -> Form:
        forms = {name: self.form(field.annotation, f"{where}: {name}") for name, field in fields.items()}
        required = [name for name, field in fields.items() if field.default is REQUIRED]
        properties = {name: _described(form.schema, fields[name]) for name, form in forms.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required

        def read(value: Any, at: str) -> dict[str, Any]:
            given = _expect(value, dict, "an object", at)
            if missing := [name for name in required if name not in given]:
                raise ValueError(f"{_at(at)}: {', '.join(missing)} missing")
            if not given.keys() <= forms.keys():
                raise ValueError(f"{_at(at)}: an unknown name was given, expected {', '.join(forms) or 'none'}")
            return {name: forms[name].read(one, f"{at}.{name}" if at else name) for name, one in given.items()}

        return Form(schema, read)

    def _annotated(self, arguments: tuple[Any, ...], where: str) -> Form:
        form = self.form(arguments[0], where)
        notes = [note for note in arguments[1:] if isinstance(note, str)]
        return Form(form.schema | {"description": notes[0]}, form.read) if notes else form

    def _literal(self, arguments: tuple[Any, ...], where: str) -> Form:
        return _one_of([(one.value if isinstance(one, enum.Enum) else one, one) for one in arguments], where)

    def _union(self, arguments: tuple[Any, ...], where: str) -> Form:
        forms = [self.form(argument, where) for argument in arguments]
        schema: dict[str, Any] = {"anyOf": [form.schema for form in forms]}
        if all(form.schema.keys() == {"type"} for form in forms):
            schema = {"type": [form.schema["type"] for form in forms]}

        def read(value: Any, at: str) -> Any:
            errors = []
            for form in forms:
                try:
                    return form.read(value, at)
                except ValueError as error:
                    if form.schema != {"type": "null"}:
                        errors.append(error)
            raise errors[0] if len(errors) == 1 else ValueError(f"{_at(at)}: {_kind(value)} fits none of the types")

        return Form(schema, read)

    def _class(self, kind: type, where: str) -> Form:
        if issubclass(kind, enum.Enum):
            return _one_of([(member.value, member) for member in kind], where)
        if _pydantic.is_model(kind):
            schema = _pydantic.schema_of(kind)
            for name, definition in schema.pop("$defs", {}).items():
                self._define(name, definition, where)
            return Form(schema, lambda value, at: _pydantic.read(kind, value, _at(at)))
        if kind in self._open:
            self._recursive.add(kind)
            return self._reference(kind)
        if kind not in self._made:
            self._open.append(kind)
            form = self._fields(kind, where)
            self._open.remove(kind)
            if kind in self._recursive:
                self._define(kind.__name__, form.schema, where)
                self._made[kind] = Form(self._reference(kind).schema, form.read)
            else:
                self._made[kind] = form
        return self._made[kind]

    def _reference(self, kind: type) -> Form:
        def read(value: Any, at: str) -> Any:
            return self._made[kind].read(value, at)  # made by then

        return Form({"$ref": f"#/$defs/{kind.__name__}"}, read)

    def _fields(self, kind: type, where: str) -> Form:
        if dataclasses.is_dataclass(kind):
            record = self.record(_dataclass_fields(kind), kind.__name__)
            return Form(record.schema, lambda value, at: _made(kind, record.read(value, at), at))
        if issubclass(kind, dict) and hasattr(kind, "__required_keys__"):
            return self.record(_typed_dict_fields(kind), kind.__name__)
        raise _unsupported(kind, where)

    def _define(self, name: str, schema: Any, where: str) -> None:
        if self._definitions.setdefault(name, schema) != schema:
            raise TypeError(f"{where}: two different types are called {name}, expected names that differ")

    def _list(self, arguments: tuple[Any, ...], where: str) -> Form:
        item = self.form(arguments[0] if arguments else Any, where)
        schema = {"type": "array", "items": item.schema} if item.schema else {"type": "array"}

        def read(value: Any, at: str) -> list[Any]:
            given = _expect(value, list, "a list", at)
            return [item.read(one, f"{at}[{number}]") for number, one in enumerate(given)]

        return Form(schema, read)

    def _tuple(self, arguments: tuple[Any, ...], where: str) -> Form:
        if not arguments or arguments[-1] is ...:
            any_number = self._list(arguments[:1], where)
            return Form(any_number.schema, lambda value, at: tuple(any_number.read(value, at)))
        items = [self.form(argument, where) for argument in arguments]
        count = len(items)
        schema = {"type": "array", "prefixItems": [item.schema for item in items], "minItems": count, "maxItems": count}

        def read(value: Any, at: str) -> tuple[Any, ...]:
            given = _expect(value, list, "a list", at)
            if len(given) != count:
                raise ValueError(f"{_at(at)}: a list of {len(given)} was given, expected {count}")
            return tuple(item.read(one, f"{at}[{number}]") for number, (item, one) in enumerate(zip(items, given)))  # noqa: B905 - of one length

        return Form(schema, read)

    def _mapping(self, arguments: tuple[Any, ...], where: str) -> Form:
        if arguments and arguments[0] is not str:
            raise _unsupported(dict[arguments[0], arguments[1]], where)  # type: ignore[valid-type]
        item = self.form(arguments[1] if arguments else Any, where)
        schema = {"type": "object", "additionalProperties": item.schema} if item.schema else {"type": "object"}

        def read(value: Any, at: str) -> dict[str, Any]:
            given = _expect(value, dict, "an object", at)
            return {name: item.read(one, f"{_at(at)}[…]") for name, one in given.items()}

        return Form(schema, read)


def _dataclass_fields(kind: type) -> dict[str, Field]:
    hints, told = hints_of(kind, kind.__name__), _docstrings.descriptions(kind.__doc__)
    found = {}
    for field in dataclasses.fields(kind):
        if field.init:
            default = field.default if field.default_factory is REQUIRED else None
            described = field.metadata.get("description", told.get(field.name, ""))
            found[field.name] = Field(hints[field.name], described, default)
    return found


def _typed_dict_fields(kind: Any) -> dict[str, Field]:
    told = _docstrings.descriptions(kind.__doc__)
    found = {}
    for name, annotation in hints_of(kind, kind.__name__).items():
        required = name in kind.__required_keys__
        # Quoted annotations hide these two from `__required_keys__`.
        if (marker := getattr(typing.get_origin(annotation), "_name", "")) in ("Required", "NotRequired"):
            required, annotation = marker == "Required", typing.get_args(annotation)[0]  # noqa: PLW2901
        found[name] = Field(annotation, told.get(name, ""), REQUIRED if required else None)
    return found


def _described(schema: dict[str, Any], field: Field) -> dict[str, Any]:
    described = dict(schema)
    if field.description:
        described.setdefault("description", field.description)
    default = field.default.value if isinstance(field.default, enum.Enum) else field.default
    if isinstance(default, (str, int, float)):
        described["default"] = default
    return described


def _one_of(choices: list[tuple[Any, Any]], where: str) -> Form:
    """Of some values: each with the object it stands for."""
    values = [value for value, _ in choices]
    for value in values:
        if not isinstance(value, (str, int, float, bool, types.NoneType)):
            raise TypeError(
                f"{where}: {type(value).__name__} among the choices, expected str, int, float, bool or None"
            )
    schema: dict[str, Any] = {"enum": values}
    if all(isinstance(value, str) for value in values):
        schema = {"type": "string", "enum": values}

    def read(value: Any, at: str) -> Any:
        for choice, made in choices:
            # True is 1 to Python, but not in JSON.
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return made
        raise ValueError(f"{_at(at)}: expected one of {', '.join(map(repr, values))}")

    return Form(schema, read)


def _made(kind: type, values: dict[str, Any], at: str) -> Any:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_at(at)}: {kind.__name__}: {error}") from error


def _expect(value: Any, kind: type, expected: str, at: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{_at(at)}: {_kind(value)} was given, expected {expected}")
    return value


def _anything(value: Any, _at: str) -> Any:
    return value


def _null(value: Any, at: str) -> None:
    _expect(value, types.NoneType, "null", at)


def _boolean(value: Any, at: str) -> Any:
    return _expect(value, bool, "true or false", at)


def _integer(value: Any, at: str) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
        raise ValueError(f"{_at(at)}: {_kind(value)} was given, expected an integer")
    return int(value)


def _number(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{_at(at)}: {_kind(value)} was given, expected a number")
    return float(value)


def _string(value: Any, at: str) -> Any:
    return _expect(value, str, "a string", at)


def _at(place: str) -> str:
    return place or "the whole"


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


def _unsupported(annotation: Any, where: str) -> TypeError:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return TypeError(
        f"{where}: the type {name} is not supported, expected str, int, float, bool, None, Any, list, tuple, dict with "
        "str keys, Literal, an Enum, a union of these, a dataclass, a TypedDict or a pydantic model"
    )


_PLAIN: dict[Any, Form] = {
    Any: Form({}, _anything),
    None: Form({"type": "null"}, _null),
    types.NoneType: Form({"type": "null"}, _null),
    bool: Form({"type": "boolean"}, _boolean),
    int: Form({"type": "integer"}, _integer),
    float: Form({"type": "number"}, _number),
    str: Form({"type": "string"}, _string),
}
_KINDS = {
    types.NoneType: "null",
    bool: "true or false",
    dict: "an object",
    float: "a number",
    int: "an integer",
    list: "a list",
    str: "a string",
}
