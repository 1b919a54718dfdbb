"""A checkpoint's own chat template, rendered as Hugging Face does, in a sandbox that is bounded.

The rules for system text, toggles and merging are applied before the template sees the conversation. What the caller
wrote never becomes a control token (see `guard`); what the template writes does. The template is the package's, what it
is given is the caller's: neither may reach Python's insides or keep a server busy. The sandbox bounds `range`; loops
over messages, which a caller can make many, are bounded by processor time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nemotron_serving.chat.controls import Control, ControlTokens, PromptPart, ends_with, tagged
from nemotron_serving.chat.conversation import ChatRequest, Conversation, Turn, arrange
from nemotron_serving.chat.guard import Guard, guarded_characters, names_within
from nemotron_serving.chat.messages import ToolCall, joined
from nemotron_serving.errors import InvalidRequestError, PackageError
from nemotron_serving.output.tags import CHATML_CALL_TAGS, CLOSE_TAG, NEMOTRON_CALL_TAGS, OPEN_TAG
from nemotron_serving.package import CHAT_TEMPLATE, Package

# tokenizer.json does not say which token begins a text; these are the names that Llama-shaped models use.
_BEGIN_NAMES = ("<|begin_of_text|>", "<s>", "<bos>", "<|startoftext|>")
_CLOSING_TAG = re.compile(r"</\w[\w.:-]*>")
_UNREADABLE = "unreadable_arguments"
_MAX_SECONDS = 2.0  # of the rendering thread's processor time; ordinary conversations take milliseconds
_MAX_CHARACTERS = 16_000_000
_CHECKED = "checked"
_END = "render_end_s"


class _AddedToken(msgspec.Struct, frozen=True):
    id: int
    content: str
    special: bool


class _TokenizerFile(msgspec.Struct, frozen=True):
    added_tokens: tuple[_AddedToken, ...] = ()


class TemplateFormat:
    """Renders conversations with PACKAGE/chat_template.jinja."""

    def __init__(self, package: Package) -> None:
        source = _read_template(package)
        serving = package.serving
        self._policy, self._default_system_prompt = serving.thinking, serving.default_system_prompt
        self._template = compile_template(source, package.path / CHAT_TEMPLATE)
        self.tool_tags = _tool_tags(source)
        self._closing_tags = frozenset(_CLOSING_TAG.findall(source)) - {CLOSE_TAG}
        controls = _control_tokens(package)
        self._controls = ControlTokens(controls.values())
        self._guarded = guarded_characters(controls.values())
        ends = (controls[index] for index in package.serving.stop_token_ids if index in controls)
        self._special = {
            "bos_token": next((name for name in _BEGIN_NAMES if name in controls.values()), ""),
            "eos_token": next(ends, ""),
        }

    def render(self, request: ChatRequest) -> list[PromptPart]:
        """The prompt in parts.

        Raises:
            InvalidRequestError: the template refuses the conversation, does not come to an end with it, or makes a
                control token of a caller's name.
        """
        messages = list(_messages(arrange(request, self._policy, self._default_system_prompt)))
        tools: list[Any] = [{"type": "function", "function": tool.function} for tool in request.tools]
        guard = Guard(self._guarded, [messages, tools])
        messages = [self._without_closing_tags(guard, message) for message in messages]
        tools = guard.escape(tools, self._closing_tags)
        written = self._written(guard, messages, tools, request.thinking)
        tokens = [part.token for part in written if isinstance(part, Control)]
        if names := names_within([messages, tools], frozenset(tokens)):
            masked = self._written(guard, guard.mask(messages, names), guard.mask(tools, names), request.thinking)
            if [part.token for part in masked if isinstance(part, Control)] != tokens:
                raise InvalidRequestError(
                    "messages",
                    f"the package's chat template makes a control token of a name, one of {sorted(names)}; use another",
                )
        parts = [guard.restore(part) if isinstance(part, str) else part for part in written]
        return [*parts, *tagged(_rest_of_prefill(parts, request.prefill))]

    def _without_closing_tags(self, guard: Guard, message: dict[str, Any]) -> dict[str, Any]:
        """A message in which neither calls nor a result hold a tag that the template may end their block with."""
        kept = ("role",) if message["role"] == "tool" else ("role", "content")
        return {
            key: value if key in kept else guard.escape(value, self._closing_tags) for key, value in message.items()
        }

    def _written(self, guard: Guard, messages: list[Any], tools: list[Any], thinking: bool) -> list[PromptPart]:
        """What the template writes, with the stand-ins of the guard."""
        variables = {
            "messages": guard.protect(messages),
            "tools": guard.protect(tools) or None,
            "add_generation_prompt": True,
            "enable_thinking": thinking,
            "thinking": thinking,
            **self._special,
        }
        try:
            text = render_template(self._template, variables)
        except Exception as error:  # whatever a template's own code runs into
            reason = guard.restore(str(error)) or type(error).__name__
            raise InvalidRequestError(
                "messages", f"the package's chat template cannot write this conversation: {reason}"
            ) from error
        return self._controls.split(text)


def _rest_of_prefill(parts: list[PromptPart], prefill: str) -> str:
    """What the prefill adds to a prompt in which the template may have opened, or closed, the think block itself."""
    if not prefill.startswith(OPEN_TAG):
        return prefill
    if ends_with(parts, OPEN_TAG):
        return prefill.removeprefix(OPEN_TAG).lstrip("\n")
    return "" if ends_with(parts, CLOSE_TAG) else prefill


def _messages(conversation: Conversation) -> Iterable[dict[str, Any]]:
    """The conversation in OpenAI's shape again; each tool result stays a message of its own."""
    if conversation.system:
        yield {"role": "system", "content": conversation.system}
    for turn in conversation.turns:
        yield from _of_assistant(turn) if turn.side == "assistant" else _of_user(turn)


def _of_assistant(turn: Turn) -> Iterable[dict[str, Any]]:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [_called(call) for call in turn.calls]
    yield message


def _called(call: ToolCall) -> dict[str, Any]:
    arguments = call.function.arguments
    if isinstance(arguments, str):  # templates walk through the arguments as an object
        arguments = {_UNREADABLE: arguments}
    function = {"name": call.function.name, "arguments": arguments}
    return {"function": function, "id": call.id, "type": "function"}


def _of_user(turn: Turn) -> Iterable[dict[str, Any]]:
    names = ("tool_call_id", "name")
    for result in turn.results:
        given = {name: getattr(result, name) for name in names if getattr(result, name) is not None}
        yield {"role": "tool", "content": result.text, **given}
    if text := joined(turn.preface, turn.text):
        yield {"role": "user", "content": text}


def _tool_tags(source: str) -> tuple[str, str]:
    """The known tags that the template itself writes; ChatML's if it writes none."""
    known = (NEMOTRON_CALL_TAGS, CHATML_CALL_TAGS)
    return next((tags for tags in known if tags[0] in source), CHATML_CALL_TAGS)


def _read_template(package: Package) -> str:
    path = package.path / CHAT_TEMPLATE
    if CHAT_TEMPLATE not in package.manifest.files:
        raise PackageError(
            f"{package.path} has chat_format 'template', but its manifest does not list {CHAT_TEMPLATE}. "
            "Build the package again."
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise PackageError(f"{path} cannot be read: {error}. Build the package again.") from error


def _control_tokens(package: Package) -> dict[int, str]:
    try:
        file = msgspec.json.decode(package.tokenizer_path.read_bytes(), type=_TokenizerFile)
    except (OSError, msgspec.MsgspecError) as error:
        raise PackageError(f"{package.tokenizer_path} cannot be read: {error}. Build the package again.") from error
    return {token.id: token.content for token in file.added_tokens if token.special}


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
