"""`response_format` from types, schemas and dicts; and the answer read back as what was asked for."""

from __future__ import annotations

import asyncio
import enum
import json
import pickle
import re
import traceback
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from uuid import UUID

import jsonschema
import pydantic
import pytest
from pydantic_core import PydanticCustomError

from nemotron_client import AsyncClient, Client, ContentDelta, ParseError, Reply, UserMessage
from nemotron_client._request import chat_call
from nemotron_serving.guide import response_guide
from nemotron_serving.guide.schema_scalars import FORMATS
from tests.unit.client.pretend import AsyncPretend, Pretend, says

HI = [UserMessage("Hi")]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class City:
    """A city."""

    name: str = field(metadata={"description": "In English."})
    people: int
    colours: tuple[Colour, ...] = ()
    twin: City | None = None


class Car(TypedDict):
    wheels: int
    name: NotRequired[str]


class Branch(TypedDict, total=False):
    """Part of a tree.

    Attributes:
        twigs: What grows on it.
    """

    twigs: list[Branch]
    leaves: Annotated[int, "How many leaves."]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = pydantic.Field(ge=0, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: set[str] = set()


@dataclass
class Garage:
    """What stands where.

    Attributes:
        cars: All of them.
        spare: Perhaps one more,
            for guests.
    """

    cars: list[Car]
    spare: Car | None = None
    wheels: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.wheels = sum(car["wheels"] for car in self.cars)


def garage(*wheels: int) -> Garage:
    return Garage([{"wheels": count} for count in wheels])


@dataclass
class Choice:
    """What pydantic reads otherwise from JSON, if it is let."""

    colour: Literal[Colour.RED, "none"]
    counts: Iterable[int]
    either: Colour | str
    pair: tuple[int, int] | list[int]
    share: float | int


class Home(pydantic.BaseModel):
    """Where pets live."""

    pets: list[Cat | Dog] = pydantic.Field(max_length=3)
    chosen: Cat | Dog = pydantic.Field(discriminator="kind")
    inner: Home | None = None


TYPES: list[tuple[Any, str, Any]] = [
    # the type, an answer, the object
    (
        City,
        '{"name": "Hue", "people": 5, "colours": ["red"], "twin": {"name": "Bath", "people": 6}}',
        City("Hue", 5, (Colour.RED,), City("Bath", 6)),
    ),
    (Car, '{"wheels": 4}', {"wheels": 4}),
    (Branch, '{"twigs": [{"twigs": []}, {}]}', {"twigs": [{"twigs": []}, {}]}),
    (Garage, '{"cars": [{"wheels": 4}, {"wheels": 3.0}]}', garage(4, 3)),
    (
        Home,
        '{"pets": [{"kind": "cat", "lives": 9}], "chosen": {"kind": "dog", "tricks": ["sit", "sit"]}}',
        Home(pets=[Cat(lives=9)], chosen=Dog(tricks={"sit"})),
    ),
    (
        Choice,
        '{"colour": "red", "counts": [1, 2], "either": "blue", "pair": [3, 4], "share": 1}',
        Choice(Colour.RED, [1, 2], Colour.BLUE, (3, 4), 1.0),
    ),
    (typing.Tuple, "[1, 2]", (1, 2)),  # noqa: UP006 - the one that is meant
    (list[City], '[{"name": "Hue", "people": 5}]', [City("Hue", 5)]),
    (Colour, '"blue"', Colour.BLUE),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (int | None, "null", None),
]
IDS = [getattr(row[0], "__name__", str(row[0])) for row in TYPES]


def sent(response_format: Any) -> dict[str, Any]:
    """What the server gets."""
    text = chat_call(HI, {"response_format": response_format}).inputs["response_format"]
    assert response_guide(text) is not None, "the server does not take it"
    decoded: dict[str, Any] = json.loads(text)
    return decoded


def ask_sync(response_format: Any, content: str, finish_reason: str = "stop") -> Reply:
    with Client(transport=Pretend(lambda _: says(content, finish_reason))) as client:
        return client.chat(HI, response_format=response_format)


def ask_async(response_format: Any, content: str, finish_reason: str = "stop") -> Reply:
    async def ask() -> Reply:
        async with AsyncClient(transport=AsyncPretend(lambda _: says(content, finish_reason))) as client:
            return await client.chat(HI, response_format=response_format)

    return asyncio.run(ask())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(("kind", "answer", "made"), TYPES, ids=IDS)
def test_the_server_takes_the_schema_of_a_type_and_the_answer_fits_it(kind: Any, answer: str, made: Any) -> None:  # noqa: ARG001
    format_ = sent(kind)
    assert format_["type"] == "json_schema"
    jsonschema.validate(json.loads(answer), format_["json_schema"]["schema"])


@pytest.mark.parametrize(("kind", "answer", "made"), TYPES, ids=IDS)
def test_the_answer_becomes_an_object_of_the_type(ask: Any, kind: Any, answer: str, made: Any) -> None:
    reply = ask(kind, answer)
    assert reply.parsed == made
    assert reply.content == answer


def test_half_a_surrogate_pair_is_no_text_and_costs_no_answer(ask: Any) -> None:
    assert ask(City, r'{"name": "\ud83d!", "people": 1}').parsed == City("\ufffd!", 1)


def test_an_iterable_holds_what_it_says(ask: Any) -> None:
    with pytest.raises(ParseError, match=r"counts\[0\]: Input should be a valid integer"):
        ask(Choice, '{"colour": "red", "counts": ["a"], "either": "blue", "pair": [3, 4], "share": 1}')


def test_what_a_dataclass_says_of_itself() -> None:
    city = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "In English."},
            "people": {"type": "integer"},
            "colours": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}, "default": []},
            "twin": {"anyOf": [{"$ref": "#/$defs/City"}, {"type": "null"}], "default": None},
        },
        "required": ["name", "people"],
    }
    schema = {"$ref": "#/$defs/City", "$defs": {"City": city}}
    assert sent(City) == {"type": "json_schema", "json_schema": {"name": "City", "schema": schema}}


def test_what_the_docstring_of_an_inner_class_says() -> None:
    car = {
        "type": "object",
        "properties": {"wheels": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["wheels"],
    }
    whole = sent(list[Garage])["json_schema"]["schema"]
    assert whole["items"]["properties"] == {
        "cars": {"type": "array", "items": {"$ref": "#/$defs/Car"}, "description": "All of them."},
        "spare": {
            "anyOf": [{"$ref": "#/$defs/Car"}, {"type": "null"}],
            "default": None,
            "description": "Perhaps one more, for guests.",
        },
    }
    assert whole["$defs"] == {"Car": car}


def test_what_a_typed_dict_says_of_itself() -> None:
    branch = {
        "type": "object",
        "properties": {
            "twigs": {"type": "array", "items": {"$ref": "#/$defs/Branch"}, "description": "What grows on it."},
            "leaves": {"type": "integer", "description": "How many leaves."},
        },
    }
    assert sent(Branch)["json_schema"]["schema"] == {"$ref": "#/$defs/Branch", "$defs": {"Branch": branch}}


def test_what_pydantic_checks_by_itself_is_not_asked_of_the_server() -> None:
    text = json.dumps(sent(Home))
    assert "discriminator" not in text
    assert "uniqueItems" not in text
    cat = sent(Home)["json_schema"]["schema"]["$defs"]["Cat"]
    assert cat["properties"]["lives"]["maximum"] == 9
    assert cat["required"] == ["lives", "kind"], "pydantic needs the tag, default or not"


class Fruit(enum.Enum):
    APPLE = "apple"
    PEAR = "pear"


CHECKED_BY_PYDANTIC = [
    # the type, an answer, one that pydantic does not take
    (Annotated[int, pydantic.Field(multiple_of=5, ge=0, le=50)], 45, 46),
    (Annotated[float, pydantic.Field(multiple_of=0.5)], 1.5, 1.6),
    (Annotated[float, pydantic.Field(ge=0.5, le=9.5)], 9.4, 9.6),
    (Annotated[float, pydantic.Field(gt=0.5, lt=9.5)], 0.6, 0.5),
    (Annotated[float, pydantic.Field(ge=-1e30, lt=float("inf"))], 1.0, "a"),
    (Annotated[int, pydantic.Field(ge=0, le=2**63 - 1)], 5, -5),
    (pydantic.HttpUrl, "https://a.example/b", "ftp://a.example"),
    (pydantic.AnyUrl, "https://a.example", "a"),
    (pydantic.PostgresDsn, "postgres://a:b@c.example:5432/d", "https://a.example"),
    (timedelta, "PT1H30M", "an hour"),
    (pydantic.SecretStr, "a", 1),
    (pydantic.UUID4, "8b2c1d3e-1111-4222-8333-444455556666", "8b2c1d3e-1111-1222-8333-444455556666"),
    (pydantic.IPvAnyAddress, "::1", "a"),
    (bytes, "a", 1),
    (Path, "/a", 1),
    (Decimal, "1.5", "a"),
    (Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Z]+$", max_length=6)], "ABC", "ABCDEFG"),
    (Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Z]+$", min_length=2)], "ABC", "A"),
    (dict[Literal["a", "b"], bool], {"a": True}, {"c": True}),
    (Annotated[dict[Fruit, bool], pydantic.Field(min_length=1, max_length=1)], {"pear": True}, {}),
    (dict[Annotated[str, pydantic.StringConstraints(pattern="^a+$")], int], {"aa": 1}, {"b": 1}),
    (dict[Annotated[str, pydantic.StringConstraints(max_length=2)], int], {"aa": 1}, {"bbb": 1}),
    (Annotated[dict[str, bool], pydantic.Field(min_length=2, max_length=3)], {"a": True, "b": False}, {"a": True}),
    (frozenset[Literal[1, 2]], [1, 1], [3]),
    (Annotated[bool, pydantic.Field(json_schema_extra={"example": True, "widget": "box"})], True, "a"),
]


@pytest.mark.parametrize(("kind", "value", "other"), CHECKED_BY_PYDANTIC, ids=str)
def test_what_the_server_cannot_hold_is_checked_when_the_answer_is_read(
    ask: Any, kind: Any, value: Any, other: Any
) -> None:
    model: type[pydantic.BaseModel] = pydantic.create_model("M", a=(kind, ...))
    jsonschema.validate({"a": value}, sent(model)["json_schema"]["schema"])
    assert ask(model, json.dumps({"a": value})).parsed == model.model_validate({"a": value})
    with pytest.raises(ParseError, match=r"The answer does not fit: a[:.\[]"):
        ask(model, json.dumps({"a": other}))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_server_is_sent(name: str) -> None:
    model = pydantic.create_model("M", a=(str, pydantic.Field(json_schema_extra={"format": name})))
    assert sent(model)["json_schema"]["schema"]["properties"]["a"]["format"] == name


def test_what_the_server_can_hold_is_sent() -> None:
    class Model(pydantic.BaseModel):
        page: pydantic.HttpUrl
        share: float = pydantic.Field(gt=-0.5, le=9.5, multiple_of=0.5)
        votes: Annotated[dict[Fruit, bool], pydantic.Field(min_length=1)]
        name: str = pydantic.Field(max_length=9)

    properties = sent(Model)["json_schema"]["schema"]["properties"]
    assert properties["page"]["format"] == "uri"
    assert (properties["share"]["exclusiveMinimum"], properties["share"]["maximum"]) == (-1, 10)
    assert properties["votes"]["propertyNames"] == {"enum": ["apple", "pear"]}
    assert (properties["votes"]["minProperties"], properties["name"]["maxLength"]) == (1, 9)


def test_a_field_may_be_called_like_a_keyword() -> None:
    class Odd(pydantic.BaseModel):
        discriminator: str
        uniqueItems: int = 5

    properties = sent(Odd)["json_schema"]["schema"]["properties"]
    assert list(properties) == ["discriminator", "uniqueItems"]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (SCHEMA, {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}),
        (
            {"anyOf": [SCHEMA]},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"anyOf": [SCHEMA]}}},
        ),
        (
            {"type": ["string", "null"]},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": ["string", "null"]}}},
        ),
        ({"type": "json_schema", "schema": SCHEMA}, {"type": "json_schema", "schema": SCHEMA}),
        ({"type": "json_object"}, {"type": "json_object"}),
        ({"type": "regex", "regex": "[0-9]+"}, {"type": "regex", "regex": "[0-9]+"}),
        (json.dumps({"type": "choice", "choice": ["a"]}), {"type": "choice", "choice": ["a"]}),
    ],
    ids=str,
)
def test_dicts_are_schemas_or_openai_shapes(given: Any, expected: dict[str, Any]) -> None:
    assert sent(given) == expected


@pytest.mark.parametrize(
    ("given", "content", "finish_reason", "parsed"),
    [
        (SCHEMA, '{"a": 1}', "stop", {"a": 1}),
        ({"type": "json_object"}, '{"a": 1}', "stop", {"a": 1}),
        (json.dumps({"type": "json_object"}), '{"a": 1}', "stop", {"a": 1}),
        ({"type": "json_object"}, '{"a": ', "length", None),
        ({"type": "regex", "regex": "[0-9]+"}, "5", "stop", None),
        ({"type": "choice", "choice": ["1"]}, "1", "stop", None),
        ({"type": "text"}, "1", "stop", None),
        (None, '{"a": 1}', "stop", None),
    ],
)
def test_what_is_parsed_for_a_dict(ask: Any, given: Any, content: str, finish_reason: str, parsed: Any) -> None:
    assert ask(given, content, finish_reason).parsed == parsed


@pytest.mark.parametrize(
    ("content", "finish_reason", "message"),
    [
        ('{"name": "secret', "length", "was cut off by max_tokens"),
        ('{"name": "secret', "timeout", "was cut off by the server's deadline: see timeout_ms"),
        ('{"name": "secret', "cancelled", "was cancelled"),
        ('{"name": "secret', "repetition", "repeated itself"),
        ('{"name": "secret', "stop", "is not JSON, with the finish reason 'stop'"),
        ('{"name": "secret"}', "stop", "does not fit: people: Field required"),
        ('{"name": "x", "people": "secret"}', "stop", "does not fit: people: Input should be a valid integer"),
    ],
)
def test_an_answer_that_is_no_object_of_the_type(ask: Any, content: str, finish_reason: str, message: str) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        ask(City, content, finish_reason)
    error = caught.value
    assert (error.reply.content, error.reply.finish_reason, error.reply.parsed) == (content, finish_reason, None)
    assert error.request_id == error.reply.request_id
    assert "secret" not in f"{error} {error.__cause__}"
    assert pickle.loads(pickle.dumps(error)).reply == error.reply  # noqa: S301 - our own


def test_pydantic_does_not_show_the_answer_in_its_error(ask: Any) -> None:
    with pytest.raises(ParseError, match=r"chosen.cat.lives: Input should be less than or equal to 9") as caught:
        ask(Home, '{"pets": [], "chosen": {"kind": "cat", "lives": 12345}}')
    assert "12345" not in f"{caught.value} {caught.value.__cause__}"


class Even(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def check(cls, number: int) -> int:
        if number % 2:
            raise ValueError(f"secret: {number} is odd")
        if number % 4:
            raise PydanticCustomError("int_type" if number == 6 else "odd_half", "secret {number}", {"number": number})
        return number


@dataclass
class Picky:
    number: int

    def __post_init__(self) -> None:
        raise (TypeError if self.number else ValueError)(f"secret {self.number}")


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        (Even, '{"number": 3}', "number: Value error"),
        (Even, '{"number": 2}', "number: a check of its type has failed"),
        (Even, '{"number": 6}', "number: Input should be a valid integer"),
        (Picky, '{"number": 0}', "the whole: Value error"),
        (Picky, '{"number": 1}', "the whole: TypeError"),
        (Colour, '"secret"', "the whole: Input should be 'red' or 'blue'"),
        (Literal["a", "b"], '"secret"', "the whole: Input should be 'a' or 'b'"),
        (dict[str, int], '{"secret": "secret"}', "[…]: Input should be a valid integer"),
        (dict[int, dict[str, int]], '{"9": {"secret": []}}', "[…][…]: Input should be a valid integer"),
        (Car, '{"wheels": 4, "secret": 1}', "[…]: Extra inputs are not permitted"),
        (Cat | Dog, '{"kind": "secret"}', "Cat.kind: Input should be 'cat'; Cat.lives: Field required"),
        (
            Home,
            '{"pets": [], "chosen": {"kind": "secret"}}',
            "chosen: Input tag '…' found using 'kind' does not match any of the expected tags: 'cat', 'dog'",
        ),
        (UUID, '"xsecret"', "the whole: Input should be a valid UUID"),
        (pydantic.HttpUrl, '"secret"', "the whole: Input should be a valid URL"),
        (Annotated[list[int], pydantic.Field(max_length=1)], "[1, 2]", "the whole: List should have at most 1 item"),
    ],
    ids=str,
)
def test_an_error_says_nothing_that_the_answer_says(ask: Any, kind: Any, content: str, message: str) -> None:
    with pytest.raises(ParseError, match=re.escape(f"The answer does not fit: {message}")) as caught:
        ask(kind, content)
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret" not in shown.replace(content, ""), "but in the lines of this test"


def test_a_cut_off_answer_is_read_as_a_stream_and_fails_at_its_end() -> None:
    with (
        Client(transport=Pretend(lambda _: says('{"na', "length"))) as client,
        client.stream_chat(HI, response_format=City) as stream,
    ):
        assert list(stream) == [ContentDelta('{"na')]
        with pytest.raises(ParseError):
            stream.get_final()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (5, TypeError, r"response_format: a type is not supported \(.* 5\), expected str, int"),
        ([City], TypeError, "response_format: list was given, expected a dict or a type"),
        (Annotated[int, pydantic.Field(ge=0.5)], TypeError, "response_format: a type is not supported"),
        (typing.Final[int], TypeError, "response_format: a type is not supported"),
        (ModuleType, TypeError, r"response_format: a type is not supported \(.*module"),
        pytest.param(sent, TypeError, "response_format: a function was given, expected a type", id="function"),
        ("json", ValueError, "response_format: text was given that is no JSON object"),
        ({"type": "json"}, ValueError, "response_format: the type 'json', expected text, json_object, json_schema"),
    ],
    ids=str,
)
def test_other_formats_are_refused(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chat_call(HI, {"response_format": given})


def another_cat() -> Any:
    class Cat(pydantic.BaseModel):
        size: int

    return Cat


def test_two_types_of_one_name_are_told_apart(ask: Any) -> None:
    cat = another_cat()
    answer = '[{"pet": {"kind": "cat", "lives": 9}}, {"pet": {"size": 3}}, {"pet": {"size": 4}}]'
    first: Any = pydantic.create_model("First", pet=(Cat, ...))
    second: Any = pydantic.create_model("Second", pet=(cat, ...))
    kind = tuple[first, second, second]
    jsonschema.validate(json.loads(answer), sent(kind)["json_schema"]["schema"])
    made = (first(pet=Cat(lives=9)), second(pet=cat(size=3)), second(pet=cat(size=4)))
    assert ask(kind, answer).parsed == made
