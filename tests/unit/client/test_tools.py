"""Functions become tools: what the model is told, how its arguments become theirs, and the loop around both."""

from __future__ import annotations

import asyncio
import enum
import functools
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict

import pydantic
import pytest

from nemotron_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    ToolRun,
    UserMessage,
    run_tools,
    run_tools_async,
    tool_from_function,
)
from nemotron_client._request import chat_call
from nemotron_client._tools import FunctionTool
from nemotron_serving.chat.tools import parse_tool_choice, parse_tools
from nemotron_serving.guide import response_guide
from tests.unit.client.pretend import Answer, AsyncPretend, Pretend, asks, conversation, says, values

if TYPE_CHECKING:
    from decimal import Decimal

HI = [UserMessage("Hi")]


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@dataclass
class Place:
    """Somewhere.

    Attributes:
        name: Of the city.
        country: Where it is,
            by its code.
    """

    name: str
    country: str = "TH"
    near: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a place needs a name")


class Span(TypedDict, total=False):
    start: int
    end: int


class Model(pydantic.BaseModel):
    x: int = pydantic.Field(ge=0, description="How far.")


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    schema: dict[str, Any] = tool_from_function(function)["function"]["parameters"]
    return schema


def test_a_function_is_told_by_its_name_docstring_and_annotations() -> None:
    def get_weather(city: str, days: int = 1, *, unit: Literal["c", "f"] = "c") -> str:
        """The weather in a city,
        for some days.

        More that the model need not know.

        Args:
            city: The city,
                in English.
            days (int, optional): How many: at most ten.
            unit: Of the temperature.

        Returns:
            unit: not a parameter's text.
        """
        return f"{city} {days} {unit}"

    assert tool_from_function(get_weather) == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city, for some days.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city, in English."},
                    "days": {"type": "integer", "description": "How many: at most ten.", "default": 1},
                    "unit": {
                        "type": "string",
                        "enum": ["c", "f"],
                        "description": "Of the temperature.",
                        "default": "c",
                    },
                },
                "required": ["city"],
            },
        },
    }


def numpy_style(city: str, first: int, last: int) -> None:
    """Short.

    Parameters
    ----------
    city : str
        The city.
    first, last : int
        A bound
        of days.

    Returns
    -------
    last
        Not this.
    """


def sphinx_style(city: str, first: int, last: int) -> None:
    """Short.

    :param city: The city.
    :param int first: A bound
        of days.
    :type last: int
    :param last: A bound of days.
    :returns: Not this.
    """


def annotated(
    city: Annotated[str, "The city."],
    first: Annotated[int, "A bound of days."],
    last: Annotated[int, "A bound of days."],
) -> None:
    """Short."""


@pytest.mark.parametrize("function", [numpy_style, sphinx_style, annotated])
def test_styles_of_docstrings(function: Callable[..., Any]) -> None:
    told = tool_from_function(function)["function"]
    assert told["description"] == "Short."
    assert {name: schema["description"] for name, schema in told["parameters"]["properties"].items()} == {
        "city": "The city.",
        "first": "A bound of days.",
        "last": "A bound of days.",
    }


def test_a_function_without_docstring_and_parameters() -> None:
    def ping() -> None: ...

    tool = {"name": "ping", "parameters": {"type": "object", "properties": {}}}
    assert tool_from_function(ping)["function"] == tool


def odd_docstring(city: str) -> None:
    """Short.

    : : what docstring_parser stumbles over
    """


def test_an_odd_docstring_is_a_text() -> None:
    told = tool_from_function(odd_docstring)["function"]
    assert (told["description"], told["parameters"]["properties"]) == ("Short.", {"city": {"type": "string"}})


def nothing(value: None) -> None: ...
def anything(value: Any) -> None: ...
def flag(value: bool) -> None: ...
def number(value: float) -> None: ...
def optional(value: Optional[str]) -> None: ...  # noqa: UP045
def union(value: int | str | None) -> None: ...
def texts(value: list[str]) -> None: ...
def bare_list(value: list) -> None: ...  # type: ignore[type-arg]
def sequence(value: Sequence[int]) -> None: ...
def pair(value: tuple[int, str]) -> None: ...
def numbers(value: tuple[float, ...]) -> None: ...
def bare_dict(value: dict) -> None: ...  # type: ignore[type-arg]
def mapping(value: Mapping[str, int]) -> None: ...
def either(value: Literal["a", 1]) -> None: ...
def unit(value: Unit) -> None: ...
def unit_or_default(value: Unit = Unit.CELSIUS) -> None: ...
def span(value: Span) -> None: ...
def celsius(value: Literal[Unit.CELSIUS, "k"]) -> None: ...
def distinct(value: set[int]) -> None: ...
def iterable(value: Iterable[int]) -> None: ...
def told(value: list[Annotated[int, "A day."]]) -> None: ...
def bounded(value: Annotated[int, pydantic.Field(ge=1, description="How many.")]) -> None: ...
def day(value: date) -> None: ...
def place(value: Place) -> None: ...
def model(value: Model) -> None: ...
def maybe_place(value: Place | None = None) -> None: ...


TYPES: list[tuple[Callable[..., None], Any, Any, Any]] = [
    # the function, the schema of its parameter, a JSON value, the object
    (nothing, {"type": "null"}, None, None),
    (anything, {}, {"a": [1]}, {"a": [1]}),
    (flag, {"type": "boolean"}, True, True),
    (number, {"type": "number"}, 3, 3.0),
    (optional, {"anyOf": [{"type": "string"}, {"type": "null"}]}, None, None),
    (union, {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}, "x", "x"),
    (texts, {"type": "array", "items": {"type": "string"}}, ["a"], ["a"]),
    (bare_list, {"type": "array", "items": {}}, [1, "a"], [1, "a"]),
    (sequence, {"type": "array", "items": {"type": "integer"}}, [1.0], [1]),
    (
        pair,
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        [1, "a"],
        (1, "a"),
    ),
    (numbers, {"type": "array", "items": {"type": "number"}}, [1, 2.5], (1.0, 2.5)),
    (bare_dict, {"type": "object", "additionalProperties": True}, {"a": 1}, {"a": 1}),
    (mapping, {"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": 1}),
    (either, {"enum": ["a", 1]}, 1, 1),
    (unit, {"type": "string", "enum": ["c", "f"]}, "f", Unit.FAHRENHEIT),
    (unit_or_default, {"type": "string", "enum": ["c", "f"], "default": "c"}, "f", Unit.FAHRENHEIT),
    (
        span,
        {"type": "object", "properties": {"start": {"type": "integer"}, "end": {"type": "integer"}}},
        {"end": 5},
        {"end": 5},
    ),
    (celsius, {"type": "string", "enum": ["c", "k"]}, "c", Unit.CELSIUS),
    (distinct, {"type": "array", "items": {"type": "integer"}}, [1, 2, 1], {1, 2}),
    (iterable, {"type": "array", "items": {"type": "integer"}}, [1, 2], [1, 2]),
    (told, {"type": "array", "items": {"type": "integer", "description": "A day."}}, [1], [1]),
    (bounded, {"type": "integer", "minimum": 1, "description": "How many."}, 5, 5),
    (day, {"type": "string", "format": "date"}, "2026-11-28", date(2026, 11, 28)),
    (
        model,
        {
            "type": "object",
            "title": "Model",
            "properties": {"x": {"type": "integer", "minimum": 0, "description": "How far."}},
            "required": ["x"],
        },
        {"x": 5},
        Model(x=5),
    ),
    (
        place,
        {"$ref": "#/$defs/Place"},
        {"name": "Bangkok", "near": [{"name": "Nonthaburi"}]},
        Place("Bangkok", near=[Place("Nonthaburi")]),
    ),
    (
        maybe_place,
        {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        {"name": "Hue", "country": "VN"},
        Place("Hue", "VN"),
    ),
]


@pytest.mark.parametrize(("function", "schema", "value", "made"), TYPES, ids=[row[0].__name__ for row in TYPES])
def test_types_of_parameters(function: Callable[..., None], schema: Any, value: Any, made: Any) -> None:
    assert parameters(function)["properties"]["value"] == schema
    got = []

    @functools.wraps(function)
    def record(value: Any) -> None:
        got.append(value)

    FunctionTool(record).bind(json.dumps({"value": value}))()
    assert got == [made]
    assert type(got[0]) is type(made)


@pytest.mark.parametrize("function", [row[0] for row in TYPES] + [numpy_style], ids=lambda one: one.__name__)
def test_the_server_can_hold_a_call_to_it(function: Callable[..., None]) -> None:
    schema = parameters(function)
    assert response_guide(json.dumps({"type": "json_schema", "json_schema": {"schema": schema}}))
    assert parse_tools(json.dumps([tool_from_function(function)]))[0].name == function.__name__


def test_a_class_that_contains_itself_is_defined_once_with_its_descriptions() -> None:
    assert parameters(place)["$defs"] == {
        "Place": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "Of the city."},
                "country": {"type": "string", "description": "Where it is, by its code.", "default": "TH"},
                "near": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            },
            "required": ["name"],
        }
    }


class Weather:
    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def ask(self, city: str, /, day: int, *, unit: Unit = Unit.CELSIUS) -> Decimal | None:  # known to checkers alone
        self.asked.append((city, day, unit))
        return None


def test_methods_and_parameters_of_every_kind() -> None:
    weather = Weather()
    tool = FunctionTool(weather.ask)
    assert list(parameters(weather.ask)["properties"]) == ["city", "day", "unit"]
    tool.bind('{"unit": "f", "day": 2, "city": "Hue"}')()
    tool.bind('{"day": 2, "city": "Hue"}')()
    assert weather.asked == [("Hue", 2, Unit.FAHRENHEIT), ("Hue", 2, Unit.CELSIUS)]


def no_annotation(city) -> None: ...  # type: ignore[no-untyped-def]
def rest(*cities: str) -> None: ...
def keywords(**cities: str) -> None: ...
def a_module(cities: ModuleType) -> None: ...
def a_date(day: Decimal) -> None: ...
def deep(place: list[dict[str, Holder]]) -> None: ...


@dataclass
class Holder:
    held: ModuleType


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_annotation, "no_annotation: city has no annotation, expected one that tells its type"),
        (rest, r"rest: \*cities: .* was found, expected parameters with names"),
        (keywords, r"keywords: \*\*cities: .* was found, expected parameters with names"),
        (a_module, r"a_module: a type is not supported \(.*module.*\), expected str, int, .* a dataclass"),
        (a_date, r"a_date: an annotation cannot be read \(name 'Decimal' is not defined\)"),
        (deep, r"deep: a type is not supported \(.*module"),
        (lambda city: city, "tools: <lambda> was given, expected a function or method that was made with 'def'"),
        (functools.partial(numpy_style, "x"), "tools: partial was given, expected a function"),
        (Weather, "tools: Weather was given, expected a function"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_by_name(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tool_from_function(function)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (place, "{", "the arguments are not valid JSON, expected an object"),
        (place, "[" * 100_000, "the arguments are not valid JSON, expected an object"),
        (place, "[]", "the whole: Input should be an object"),
        (place, "{}", "value: Field required"),
        (place, '{"value": {"name": "x"}, "secret": 1}', r"\[…\]: Extra inputs are not permitted"),
        (place, '{"value": {"name": 5}}', "value.name: Input should be a valid string"),
        (place, '{"value": {"name": ""}}', "value: Value error, a place needs a name"),
        (place, '{"value": {"name": "x", "near": [{}]}}', r"value.near\[0\].name: Field required"),
        (maybe_place, '{"value": {"name": 5}}', "value.name: Input should be a valid string"),
        (union, '{"value": true}', "value.int: Input should be a valid integer; value.str: Input should be"),
        (number, '{"value": "secret"}', "value: Input should be a valid number"),
        (sequence, '{"value": [1.5]}', r"value\[0\]: Input should be a valid integer"),
        (sequence, '{"value": [true]}', r"value\[0\]: Input should be a valid integer"),
        (either, '{"value": 2}', "value: Input should be 'a' or 1"),
        (unit, '{"value": "secret"}', "value: Input should be 'c' or 'f'"),
        (pair, '{"value": [1]}', r"value\[1\]: Field required"),
        (mapping, '{"value": {"secret": "x"}}', r"value\[…\]: Input should be a valid integer"),
        (model, '{"value": {"x": -1}}', "value.x: Input should be greater than or equal to 0"),
        (model, '{"value": {"x": "secret"}}', "value.x: Input should be a valid integer"),
    ],
)
def test_arguments_that_do_not_fit_are_told_by_their_place(
    function: Callable[..., Any], arguments: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        FunctionTool(function).bind(arguments)
    assert "secret" not in str(caught.value)


def test_no_arguments_at_all_are_an_empty_object() -> None:
    def ping() -> str:
        return "pong"

    assert FunctionTool(ping).bind("")() == "pong"


def test_the_option_takes_functions_and_both_shapes_of_dicts() -> None:
    inner = {"name": "f", "parameters": {"type": "object"}}
    call = chat_call(HI, {"tools": [inner, {"type": "function", "function": inner | {"name": "g"}}, texts]})
    assert [tool.name for tool in parse_tools(call.inputs["tools"])] == ["f", "g", "texts"]
    assert chat_call(HI, {"tools": '[{"a": 1}]'}).inputs["tools"] == '[{"a": 1}]'
    choice = chat_call(HI, {"tools": [texts], "tool_choice": texts}).inputs["tool_choice"]
    assert parse_tool_choice(choice, parse_tools(json.dumps([tool_from_function(texts)]))).name == "texts"


@pytest.mark.parametrize(
    ("tools", "error", "message"),
    [
        ({"name": "f"}, TypeError, "tools: dict was given, expected a list of functions or dicts"),
        ([5], TypeError, r"tools\[0\]: int was given, expected a function or a dict"),
        ([texts, {"input_schema": {}}], ValueError, r"tools\[1\]: a dict with input_schema, expected"),
        ([{}], ValueError, r"tools\[0\]: a dict with nothing, expected"),
    ],
)
def test_other_tools_are_refused(tools: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chat_call(HI, {"tools": tools})


# ── the loop, with threads and with asyncio ──


def run_sync(transport: Any, *arguments: Any, **options: Any) -> ToolRun:
    with Client(transport=transport, max_retries=0) as client:
        return run_tools(client, *arguments, **options)


def run_async(transport: Any, *arguments: Any, **options: Any) -> ToolRun:
    async def run() -> ToolRun:
        async with AsyncClient(transport=transport, max_retries=0) as client:
            return await run_tools_async(client, *arguments, **options)

    return asyncio.run(run())


Run = Callable[..., ToolRun]
Make = Callable[[Answer], Any]


@pytest.fixture(params=[(run_sync, Pretend), (run_async, AsyncPretend)], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> tuple[Run, Make]:
    run: tuple[Run, Make] = request.param
    return run


def add(a: int, b: int = 1) -> int:
    """Sum."""
    return a + b


def fail(text: str) -> None:
    raise LookupError(text)


def scripted(*answers: Any) -> Answer:
    """The answers, one after the other."""
    left = list(answers)
    return lambda _: left.pop(0)


def test_results_are_fed_back_until_the_model_answers(kind: tuple[Run, Make]) -> None:
    run, make = kind
    two = [*asks("add", '{"a": 1}', 1), *asks("add", '{"a": 2, "b": 3}', 2)]
    two[0]["finish_reason"] = ""  # two calls in one answer
    transport = make(scripted(two, asks("add", '{"a": 7}', 3), says("8")))
    given = [{"role": "user", "content": "Hi"}]
    result = run(transport, given, tools=[add], max_tokens=50)
    assert result.reply.content == "8"
    assert not result.limit_reached
    assert [reply.finish_reason for reply in result.replies] == ["tool_calls", "tool_calls", "stop"]
    assert result.messages == [*conversation(transport.calls[2]), {"role": "assistant", "content": "8"}]
    said = [(message["role"], message.get("tool_call_id"), message["content"]) for message in result.messages]
    assert said == [
        ("user", None, "Hi"),
        ("assistant", None, ""),
        ("tool", "call_1", "2"),
        ("tool", "call_2", "5"),
        ("assistant", None, ""),
        ("tool", "call_3", "8"),
        ("assistant", None, "8"),
    ]
    assert given == [{"role": "user", "content": "Hi"}], "the caller's own list was changed"
    assert all(call.inputs["max_tokens"] == 50 for call in transport.calls)
    assert all(parse_tools(call.inputs["tools"])[0].name == "add" for call in transport.calls)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("no_such", "{}"), "error: there is no function of this name, expected one of add, fail"),
        (("add", '{"a": "x"}'), "error: add: a: Input should be a valid integer"),
        (("add", "not JSON"), "error: add: the arguments are not valid JSON, expected an object"),
        (("fail", '{"text": "no city"}'), "error: LookupError: no city"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(
    kind: tuple[Run, Make], call: tuple[str, str], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    run, make = kind
    caplog.set_level(logging.DEBUG, "nemotron_client")
    result = run(make(scripted(asks(*call), says("Sorry"))), HI, tools=[add, fail])
    assert result.reply.content == "Sorry"
    assert result.messages[-2]["content"] == told
    assert "no city" not in caplog.text


def unreadable(content: str, *calls: Any) -> Any:
    error = json.dumps({"index": len(calls), "reason": "there is no tool 'g'", "text": content})
    finish_reason = "tool_calls" if calls else "stop"
    return [values(content, tool_calls=calls, tool_call_error=error, finish_reason=finish_reason)]


def test_a_call_that_could_not_be_read_is_told_to_the_model(kind: tuple[Run, Make]) -> None:
    run, make = kind
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    result = run(make(scripted(unreadable("g()"), unreadable("g()", call), says("2"))), HI, tools=[add])
    assert result.reply.content == "2"
    told = ("user", "error: a call could not be read: there is no tool 'g'")
    assert [(message["role"], message["content"]) for message in result.messages[-6:]] == [
        ("assistant", "g()"), told, ("assistant", "g()"), ("tool", "2"), told, ("assistant", "2"),
    ]  # fmt: skip
    stubborn = run(make(lambda _: unreadable("g()")), HI, tools=[add], max_rounds=2)
    assert (len(stubborn.replies), stubborn.limit_reached, stubborn.messages[-1]["content"]) == (3, True, "g()")


def test_errors_of_functions_are_raised_on_demand(kind: tuple[Run, Make]) -> None:
    run, make = kind
    bad, broken = asks("add", "{}"), asks("fail", '{"text": "no city"}')
    with pytest.raises(LookupError, match="no city"):
        run(make(scripted(bad, broken)), HI, tools=[add, fail], raise_tool_errors=True)


def test_the_rounds_are_limited_and_there_is_an_answer_all_the_same(kind: tuple[Run, Make]) -> None:
    run, make = kind

    def answer(call: Any) -> Any:
        return says("Enough") if call.inputs.get("tool_choice") == "none" else asks("add", '{"a": 1}')

    transport = make(answer)
    result = run(transport, HI, tools=[add], max_rounds=3)
    assert len(transport.calls) == 4
    assert result.reply.content == "Enough"
    assert result.limit_reached
    stubborn = make(lambda _: asks("add", '{"a": 1}'))
    assert len(run(stubborn, HI, tools=[add], max_rounds=2).replies) == 3


def test_a_required_call_is_required_once(kind: tuple[Run, Make]) -> None:
    run, make = kind
    transport = make(scripted(asks("add", '{"a": 1}'), says("2")))
    run(transport, HI, tools=[add], tool_choice="required")
    assert [call.inputs["tool_choice"] for call in transport.calls] == ["required", "auto"]
    transport = make(scripted(says("No")))
    run(transport, HI, tools=[add], tool_choice="none")
    assert [call.inputs["tool_choice"] for call in transport.calls] == ["none"]


def test_a_reply_that_was_cut_off_is_the_answer(kind: tuple[Run, Make]) -> None:
    run, make = kind
    cut = asks("fail", '{"text": "x"}')
    cut[0]["finish_reason"] = "length"
    result = run(make(scripted(cut)), HI, tools=[fail], raise_tool_errors=True)
    assert (result.reply.finish_reason, len(result.reply.tool_calls)) == ("length", 1)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ({"sky": "schön"}, '{"sky": "schön"}'),
        (Place("Hue", near=[Place("Da Nang")]), None),
        ([Unit.CELSIUS, Model(x=1)], '["c", {"x": 1}]'),
        ({1, 2}, "error: TypeError: JSON cannot say set"),
    ],
    ids=str,
)
def test_results_become_text(kind: tuple[Run, Make], result: Any, text: str | None) -> None:
    run, make = kind

    def get() -> Any:
        return result

    told = run(make(scripted(asks("get", "{}"), says("Done"))), HI, tools=[get]).messages[-2]["content"]
    if text is None:
        near = {"name": "Da Nang", "country": "TH", "near": []}
        assert json.loads(told) == {"name": "Hue", "country": "TH", "near": [near]}
    else:
        assert told == text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "tools: expected a list of functions"),
        ({"tools": []}, TypeError, "tools: expected a list of functions"),
        ({"tools": [{"name": "f"}]}, TypeError, "tools: dict was given, expected a function"),
        ({"tools": [add], "max_rounds": 0}, ValueError, "max_rounds: 0 was given, expected at least 1"),
    ],
    ids=["none", "empty", "dict", "max_rounds"],
)
def test_a_run_needs_functions(
    kind: tuple[Run, Make], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    run, make = kind
    with pytest.raises(error, match=message):
        run(make(scripted()), HI, **options)


def test_a_request_that_fails_ends_the_run(kind: tuple[Run, Make]) -> None:
    run, make = kind

    def refuse(_: object) -> Any:
        raise InvalidRequestError("tools: no", request_id="", url="")

    with pytest.raises(InvalidRequestError):
        run(make(refuse), HI, tools=[add])


async def slow_add(a: int) -> int:
    await asyncio.sleep(0)
    return a + 1


def test_asynchronous_functions_are_awaited_and_others_run_beside_the_loop() -> None:
    threads = []

    def where() -> str:
        threads.append(threading.current_thread())
        return "there"

    answers = scripted(asks("slow_add", '{"a": 1}'), asks("where", "{}"), says("Done"))
    result = run_async(AsyncPretend(answers), HI, tools=[slow_add, where])
    assert [message["content"] for message in result.messages if message["role"] == "tool"] == ["2", "there"]
    assert threads[0] is not threading.current_thread()


def test_an_asynchronous_function_needs_the_asynchronous_run() -> None:
    with pytest.raises(TypeError, match="slow_add is asynchronous, expected plain functions, or use run_tools_async"):
        run_sync(Pretend(scripted()), HI, tools=[slow_add])
