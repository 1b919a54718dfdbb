"""Writes docs/client/reference.md from the client's signatures and docstrings: `python docs/make_reference.py`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nemotron_client
from nemotron_client import _batch, _errors, _probes, _settings, _types, testing
from nemotron_client.testing import _replies, _script

PAGE = Path(__file__).parent / "client" / "reference.md"
GROUPS = {
    "Clients": ["Client", "AsyncClient", "Options", "Timeouts", "Tls", "ServerInfo", "ModelInfo"],
    "Streams": ["ChatStream", "AsyncChatStream"],
    "Replies and events": [
        "Reply",
        "Usage",
        "Timings",
        "ToolCall",
        "Event",
        "ReasoningDelta",
        "ContentDelta",
        "ToolCallDelta",
        "ToolCallError",
        "ToolCallErrorDelta",
        "LogprobsDelta",
        "TokenizedPrompt",
    ],
    "Messages": ["Message", "SystemMessage", "UserMessage", "AssistantMessage", "ToolMessage"],
    "Tools": ["run_tools", "run_tools_async", "ToolRun", "tool_from_function"],
    "Batch": ["BatchItem", "BatchResult"],
    "Errors": [
        "NemotronError",
        "TransportError",
        "ServerUnavailableError",
        "TlsError",
        "RequestTimeoutError",
        "InvalidRequestError",
        "AuthenticationError",
        "ModelNotReadyError",
        "OverloadedError",
        "ServerError",
        "ParseError",
        "StreamClosedError",
    ],
}
# Types that have a name in the source alone, and where that is.
ALIASES: dict[str, ModuleType] = {
    "Event": _types,
    "Message": _types,
    "Conversation": _batch,
    "Headers": _settings,
    "AsyncHeaders": _settings,
    "Metrics": _probes,
    "NotGiven": _settings,
    "Phase": _errors,
    "Answer": _script,
    "Function": _script,
    "Replies": _script,
    "Split": _replies,
}
HEAD = """# Reference

Every public name of `nemotron_client`. Made from the source by `make docs`; do not edit.
"""
WIDTH = 100
SECTION = re.compile(r"(Args|Attributes|Returns|Raises):")
ENTRY = re.compile(r"(\w+): (.*)")


def reference() -> str:
    """The page.

    Raises:
        ValueError: a public name that is in no group, or the other way round.
    """
    grouped = sorted(name for names in GROUPS.values() for name in names)
    if grouped != sorted(nemotron_client.__all__):
        raise ValueError(f"GROUPS: {set(grouped) ^ set(nemotron_client.__all__)} differ from nemotron_client.__all__")
    others = [name for name in ALIASES if name not in grouped]
    groups = [*GROUPS.items(), ("Testing", testing.__all__), ("Names in the signatures", others)]
    parts = [HEAD, *(f"- {title}: {', '.join(map(_link, names))}" for title, names in groups), ""]
    for title, names in groups:
        parts.append(f"## {title}\n")
        if title == "Errors":
            parts.append(f"```\n{_tree()}\n```\n")
        if title == "Testing":
            parts.append("In `nemotron_client.testing`. [Testing](testing.md) shows how they are used.\n")
        parts.extend("\n".join(_name(name)) for name in names)
    return "\n".join(parts).rstrip() + "\n"


def _name(name: str) -> Iterator[str]:
    yield f"### {name}\n"
    if name in ALIASES:
        yield from _alias(name, ALIASES[name])
        return
    value = getattr(nemotron_client, name, None) or getattr(testing, name)
    if not inspect.isclass(value):
        yield from _function(name, value)
        return
    fields = dict(_fields(value))
    yield from _class(value, fields)
    for member, one in vars(value).items():
        if not member.startswith("_") and member not in fields and not _is_of_a_seam(one):
            yield from _member(f"{name}.{member}", one)


def _alias(name: str, module: ModuleType) -> Iterator[str]:
    source = inspect.getsource(module)
    body = ast.parse(source).body
    for number, node in enumerate(body):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            yield _code(ast.get_source_segment(source, node) or "")
            following = body[number + 1]
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                yield f"{str(following.value.value).strip()}\n"
        elif isinstance(node, ast.ClassDef) and node.name == name:
            yield f"{ast.get_docstring(node)}\n"


def _class(kind: type, fields: dict[str, str]) -> Iterator[str]:
    if issubclass(kind, Exception):
        base = kind.__bases__[0].__name__
        yield f"A kind of {_link(base) if base in nemotron_client.__all__ else f'`{base}`'}.\n"
    yield from _prose(kind, fields)
    if not fields and "__init__" in vars(kind) and not issubclass(kind, Exception) and _is_made_by_users(kind):
        yield _code(_signature(kind.__name__, vars(kind)["__init__"]))
        yield from _prose(vars(kind)["__init__"], {})


def _is_made_by_users(kind: type) -> bool:
    return not kind.__name__.endswith("Stream")


def _fields(kind: type) -> Iterator[tuple[str, str]]:
    """Name → type and default of what a dataclass or TypedDict has."""
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            yield field.name, f"{field.type}" + ("" if made is dataclasses.MISSING else f" = {_default(made)}")
    elif hasattr(kind, "__total__"):
        for name, annotation in kind.__annotations__.items():
            yield name, annotation.__forward_arg__


def _member(path: str, member: Any) -> Iterator[str]:
    name = path.rpartition(".")[2]
    yield f"#### {path}\n"
    if isinstance(member, property):
        yield _code(f"{name}: {member.fget.__annotations__['return']}")
        yield from _prose(member, {})
    else:
        yield from _function(name, getattr(member, "__func__", member))


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    yield _code(_signature(name, function))
    yield from _prose(function, {})


def _is_of_a_seam(member: Any) -> bool:
    """What a mock has because a transport has it: for the client, not for its user."""
    return (member.__doc__ or "").startswith("See `")


def _signature(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    given = [_parameter(one) for one in parameters]
    named = next((number for number, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY), None)
    if named is not None:
        given.insert(named, "*")
    returns = "" if name[0].isupper() else f" -> {signature.return_annotation}"
    begin = f"{'async ' * inspect.iscoroutinefunction(function)}{name}("
    line = f"{begin}{', '.join(given)}){returns}"
    text = line if len(line) <= WIDTH else begin + "".join(f"\n    {one}," for one in given) + f"\n){returns}"
    return re.sub(r"\b_\w+\.", "", text)  # without the names of private modules


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
    default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
    return f"{stars}{parameter.name}: {parameter.annotation}{default}"


def _default(value: Any) -> str:
    if isinstance(value, nemotron_client.Timeouts):  # the only object among the defaults; it has its own
        return "Timeouts()"
    return value.__name__ if inspect.isfunction(value) else repr(value)


def _prose(documented: Any, fields: dict[str, str]) -> Iterator[str]:
    """A docstring as Markdown; what it says of fields as a table with their types."""
    text, sections = _sections(inspect.cleandoc(documented.__doc__ or ""))
    for paragraph in filter(None, text.split("\n\n")):
        yield _code(paragraph) if "\n    " in paragraph else " ".join(paragraph.split()) + "\n"
    told = dict(_entries(sections.pop("Attributes", [])))
    if fields:
        yield _table({name: (kind, told.get(name, "")) for name, kind in fields.items()})
    elif told:
        yield _list(told.items())
    for section, lines in sections.items():
        if section == "Returns":
            yield f"Returns: {' '.join(' '.join(lines).split())}\n"
        else:
            yield f"{'Raises' if section == 'Raises' else 'Arguments'}:\n"
            yield _list(_entries(lines))


def _sections(doc: str) -> tuple[str, dict[str, list[str]]]:
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    lines = text
    for line in doc.splitlines():
        if found := SECTION.fullmatch(line):
            lines = sections.setdefault(found[1], [])
        elif lines is text or line.startswith(" "):
            lines.append(line)
        elif line:
            raise ValueError(f"A docstring goes on after its sections: {line}")
    return "\n".join(text).strip(), sections


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    name, told = "", ""
    for line in inspect.cleandoc("\n" + "\n".join(lines)).splitlines():
        if not line.startswith(" ") and (found := ENTRY.fullmatch(line)):
            if name:
                yield name, told
            name, told = found.groups()
        else:
            told += f" {line.strip()}"
    if name:
        yield name, told


def _list(entries: Any) -> str:
    return "".join(f"- `{name}`: {text}\n" for name, text in entries)


def _table(rows: dict[str, tuple[str, str]]) -> str:
    lines = ["| | | |", "|---|---|---|"]
    for name, (kind, text) in rows.items():
        cells = [cell.replace("|", r"\|") for cell in (f"`{name}`", f"`{kind}`", text)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _tree() -> str:
    paragraphs = (_errors.__doc__ or "").split("\n\n")
    return next(paragraph for paragraph in paragraphs if paragraph.startswith("NemotronError\n"))


def _code(text: str) -> str:
    return f"```py\n{text}\n```\n"


def _link(name: str) -> str:
    return f"[`{name}`](#{name.lower()})"


if __name__ == "__main__":
    PAGE.write_text(reference())
