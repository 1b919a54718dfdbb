"""Jinja as Hugging Face sets it up for chat templates, and bounded.

The template is the package's, what it is given is the caller's: neither may reach Python's insides or keep a server
busy. The sandbox bounds `range`; loops over messages, which a caller can make many, are bounded by processor time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nemotron_serving.errors import PackageError

_MAX_SECONDS = 2.0  # of the rendering thread's processor time; ordinary conversations take milliseconds
_MAX_CHARACTERS = 16_000_000
_CHECKED = "checked"
_END = "render_end_s"


def compile_template(source: str, path: Path) -> Template:
    """Compile a chat template.

    Raises:
        PackageError: it is not one.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters |= {"tojson": _tojson, _CHECKED: _checked}
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    try:
        tree = environment.parse(source)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(
                loop.iter, _CHECKED, [], [], None, None, lineno=loop.lineno, environment=environment
            )
        return environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise PackageError(f"{path}, line {error.lineno}: {error.message}. Mend the chat template.") from error


def render_template(template: Template, variables: Mapping[str, Any]) -> str:
    """Render within the limits.

    Raises:
        Exception: whatever the template raises or runs into.
    """
    pieces: list[str] = []
    length = 0
    for piece in template.generate(variables, **{_END: time.thread_time() + _MAX_SECONDS}):
        length += len(piece)
        if length > _MAX_CHARACTERS:
            raise TemplateError(f"it wrote more than {_MAX_CHARACTERS} characters")
        pieces.append(piece)
    return "".join(pieces)


@pass_context
def _checked(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    """The values of a loop, as long as there is time."""
    for value in values:
        if time.thread_time() > context[_END]:
            raise TemplateError(f"it took longer than {_MAX_SECONDS} s")
        yield value


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's HTML escapes. Escapes of other scripts would hide a guard's stand-ins: they are refused."""
    if ensure_ascii:
        raise TemplateError("tojson with ensure_ascii is not supported")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
