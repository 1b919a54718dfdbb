"""Functions that the model may call: from Python functions, or from their JSON in OpenAI's shape."""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import json
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nemotron_client._forms import REQUIRED, Form, NotJsonError, Parameter, parameters_form
from nemotron_client._schemas import descriptions, hints_of, summary

_PARTS = ("name", "description", "parameters", "strict")  # of OpenAI's function object


class FunctionTool:
    """A Python function that the model may call.

    Attributes:
        name: What the model calls it.
        definition: What the model is told, in OpenAI's shape.
        is_async: Whether its result has to be awaited.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Look at the signature and the docstring. Raises what `tool_from_function` raises."""
        self.name = _name(function)
        self.is_async = inspect.iscoroutinefunction(function)
        self._function = function
        self._signature, self._arguments, definition = _looked_at(function, self.name)
        self.definition = copy.deepcopy(definition)  # for the caller, who may change it

    def bind(self, arguments: str) -> Callable[[], Any]:
        """The call of the function with arguments as the model wrote them.

        Raises:
            ValueError: they are not JSON, or do not fit the signature.
        """
        try:
            values = self._arguments.read(arguments or "{}", quoting=True)  # to the model, who wrote them
        except NotJsonError:
            raise ValueError("the arguments are not valid JSON, expected an object") from None
        in_order = OrderedDict((name, values[name]) for name in self._signature.parameters if name in values)
        bound = inspect.BoundArguments(self._signature, in_order)
        return lambda: self._function(*bound.args, **bound.kwargs)


def tool_from_function(function: Callable[..., Any]) -> dict[str, Any]:
    """What the model is told of a function, in OpenAI's shape.

    The description is the docstring's first paragraph; those of the parameters are read from its section in Google's,
    NumPy's or Sphinx' style, or from `Annotated[str, "The city"]`. A parameter with a default may be left out.

    Args:
        function: Each parameter has an annotation: str, int, float, bool, None, Any, list, tuple, dict with str keys,
            Literal, an Enum, a union of these, a dataclass, a TypedDict, a pydantic model, or what else pydantic reads
            from JSON.

    Raises:
        TypeError: a parameter without annotation or of another type, `*args`, `**kwargs`, or no function with a name.
    """
    return FunctionTool(function).definition


def tools_json(tools: Any) -> Any:
    """The option `tools` as the server takes it.

    Args:
        tools: A list of Python functions, of dicts in OpenAI's shape, and of its inner function objects; or text that
            is the JSON already.

    Raises:
        TypeError: something else among them, or a function that cannot be a tool.
    """
    if isinstance(tools, str):
        return tools
    if isinstance(tools, Mapping) or not isinstance(tools, Iterable):
        raise TypeError(f"tools: {type(tools).__name__} was given, expected a list of functions or dicts")
    return [_definition(f"tools[{number}]", tool) for number, tool in enumerate(tools)]


def tool_choice_json(choice: Any) -> Any:
    """The option `tool_choice` as the server takes it; a Python function stands for itself."""
    return {"type": "function", "function": {"name": _name(choice)}} if callable(choice) else choice


def result_text(result: Any) -> str:
    """The result of a function as the model is told it: text as it is, anything else as JSON.

    Raises:
        TypeError: JSON cannot say it.
    """
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=_plain)


def _definition(where: str, tool: Any) -> dict[str, Any]:
    if callable(tool):
        return tool_from_function(tool)
    if not isinstance(tool, Mapping):
        raise TypeError(f"{where}: {type(tool).__name__} was given, expected a function or a dict in OpenAI's shape")
    if isinstance(tool.get("function"), Mapping):
        return dict(tool)
    if isinstance(tool.get("name"), str) and tool.keys() <= {"type", *_PARTS}:
        return {"type": "function", "function": {name: tool[name] for name in _PARTS if name in tool}}
    raise ValueError(
        f'{where}: a dict with {", ".join(map(str, tool)) or "nothing"}, expected {{"type": "function", "function": '
        '{"name": …, "description": …, "parameters": …}} or its inner object'
    )


def _name(function: Any) -> str:
    name = getattr(function, "__name__", "")
    if not (inspect.isfunction(function) or inspect.ismethod(function)) or not name.isidentifier():
        what = name or type(function).__name__
        raise TypeError(f"tools: {what} was given, expected a function or method that was made with 'def'")
    return str(name)


_Look = tuple[inspect.Signature, Form, dict[str, Any]]
"""What is known of a function: its signature, the form of its arguments, and what the model is told."""
_looks: weakref.WeakKeyDictionary[Any, dict[bool, _Look]] = weakref.WeakKeyDictionary()


def _looked_at(function: Any, name: str) -> _Look:
    """Looking at a function takes milliseconds, and a program offers the same few with each request."""
    bound = inspect.ismethod(function)  # without its first parameter, then
    looks = _looks.setdefault(function.__func__ if bound else function, {})
    if bound not in looks:
        signature = inspect.signature(function)
        arguments = _arguments(function, name, signature)
        described = {"description": text} if (text := summary(function.__doc__)) else {}
        inner = {"name": name, **described, "parameters": arguments.schema}
        looks[bound] = signature, arguments, {"type": "function", "function": inner}
    return looks[bound]


def _arguments(function: Callable[..., Any], name: str, signature: inspect.Signature) -> Form:
    hints, told = _hints(function, name), descriptions(function.__doc__)
    found = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{name}: {parameter} was found, expected parameters with names that the model can be told")
        if parameter.name not in hints:
            raise TypeError(f"{name}: {parameter.name} has no annotation, expected one that tells its type")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        found[parameter.name] = Parameter(hints[parameter.name], told.get(parameter.name, ""), default)
    return parameters_form(found, name)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The annotations of the parameters alone: that of the result may well be there only for a type checker."""
    annotations = {name: kind for name, kind in function.__annotations__.items() if name != "return"}
    names = inspect.unwrap(function).__globals__
    return hints_of(types.SimpleNamespace(__annotations__=annotations, __globals__=names), name)


def _plain(value: Any) -> Any:
    """What json.dumps does not know by itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json")
    raise TypeError(f"JSON cannot say {type(value).__name__}")
