"""Chats as files: JSON with OpenAI's messages and tools, and the settings."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from nemotron_client.chat.session import ChatError, Message, Settings

_MAX_BYTES = 64 * 2**20
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "thinking": bool,
    "max_thinking_tokens": int,
    "temperature": (int, float),
    "max_tokens": int,
}
_ROLES = ("system", "developer", "user", "assistant", "tool")


def save(path: Path, messages: list[Message], settings: Settings) -> None:
    """Write a chat, readable for its owner alone. An older chat in the file is replaced, any other file is not.

    Raises:
        ChatError: the file holds something else, or cannot be written.
    """
    if path.exists():
        try:
            load(path)
        except ChatError:
            raise ChatError(f"{path} is there and holds no chat: choose another name, or remove it.") from None
    system = [{"role": "system", "content": settings.system}] if settings.system else []
    kept = {
        "thinking": settings.thinking,
        "max_thinking_tokens": settings.budget,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
    }
    content = {
        "messages": [*system, *messages],
        "tools": settings.tools,
        "settings": {name: value for name, value in kept.items() if value is not None},
    }
    try:
        _write(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    except (OSError, UnicodeEncodeError) as error:
        raise ChatError(f"{path} cannot be written: {_reason(error)}.") from None


def load(path: Path) -> tuple[list[Message], Settings]:
    """Read a chat: what `save` writes, or a bare list of OpenAI's messages.

    System messages become the system text of the settings.

    Raises:
        ChatError: the file cannot be read or holds no chat; the message says where.
    """
    value = _read_json(path)
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        raise ChatError(f'{path}: expected a JSON object with a list "messages", in OpenAI\'s shape.')
    messages = value["messages"]
    for number, message in enumerate(messages):
        if problem := _message_problem(message):
            raise ChatError(f"{path}: messages[{number}]{problem}.")
    settings = _settings(path, value.get("settings", {}))
    settings.tools = checked_tools(path, value.get("tools") or [])
    system = [one["content"] for one in messages if one["role"] in ("system", "developer")]
    settings.system = "\n\n".join(system)
    return [one for one in messages if one["role"] not in ("system", "developer")], settings


def load_tools(path: Path) -> list[dict[str, Any]]:
    """Read a file of tools: a JSON list in OpenAI's shape.

    Raises:
        ChatError: the file cannot be read or holds no such list.
    """
    return checked_tools(path, _read_json(path))


def checked_tools(path: Path, value: Any) -> list[dict[str, Any]]:
    """The tools, if they have OpenAI's shape. What their schemas say is the server's to judge.

    Raises:
        ChatError: they have not.
    """
    if not isinstance(value, list):
        raise ChatError(f"{path}: expected a JSON list of tools, in OpenAI's shape.")
    for number, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            expected = '{"type": "function", "function": {"name": …, "parameters": …}}'
            raise ChatError(f"{path}: tool {number} has not the shape {expected}.")
    return value


def _message_problem(message: Any) -> str:
    """What is wrong with a message, to be written behind its place; empty if nothing is. Makes contents strings."""
    if not isinstance(message, dict):
        return ": expected an object"
    role = message.get("role")
    if role not in _ROLES:
        return f".role: expected one of {', '.join(_ROLES)}"
    message["content"] = _text_of(message.get("content"), optional=role == "assistant")
    if message["content"] is None:
        return ".content: expected text"
    if not isinstance(message.get("reasoning_content") or "", str):
        return ".reasoning_content: expected text"
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        return ".tool_call_id: expected the id of a call"
    return _calls_problem(message.get("tool_calls") or [])


def _text_of(content: Any, *, optional: bool) -> str | None:
    """A message's content as one string; None where it is none."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(parts) else None
    if content is None and optional:
        return ""
    return content if isinstance(content, str) else None


def _calls_problem(calls: Any) -> str:
    if not isinstance(calls, list):
        return ".tool_calls: expected a list"
    for number, given in enumerate(calls):
        call = given if isinstance(given, dict) else {}
        named = call.get("function")
        function = named if isinstance(named, dict) else {}
        if not all(isinstance(one, str) for one in (call.get("id"), function.get("name"), function.get("arguments"))):
            return f".tool_calls[{number}]: expected an id, and a function with name and arguments as text"
    return ""


def _settings(path: Path, value: Any) -> Settings:
    if not isinstance(value, dict):
        raise ChatError(f"{path}: settings: expected an object.")
    for name, one in value.items():
        if name not in _SETTINGS:
            raise ChatError(f"{path}: settings.{name} is no setting, expected one of {', '.join(_SETTINGS)}.")
        fits = isinstance(one, _SETTINGS[name]) and (name == "thinking" or not isinstance(one, bool))
        if one is not None and not (fits and one >= 0):
            kind = {"thinking": "true or false", "temperature": "a number"}.get(name, "a whole number")
            raise ChatError(f"{path}: settings.{name}: expected {kind}.")
    given = dict(value)
    return Settings(budget=given.pop("max_thinking_tokens", None), **given)


def _read_json(path: Path) -> Any:
    try:
        if path.exists() and not path.is_file():
            raise ChatError(f"{path} is no file.")
        if path.stat().st_size > _MAX_BYTES:
            raise ChatError(f"{path} is larger than {_MAX_BYTES // 2**20} MiB, too large for a chat.")
        text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # \ud800 alone is JSON, but no text
    except OSError as error:
        raise ChatError(f"{path} cannot be read: {_reason(error)}.") from None
    except UnicodeError:
        raise ChatError(f"{path} cannot be read: it is no UTF-8 text.") from None
    except (ValueError, RecursionError) as error:
        raise ChatError(f"{path} is no JSON: {_reason(error)}.") from None
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _write(path: Path, text: str) -> None:
    """All of it or nothing: an old chat stays whole when the disk is full."""
    target = path.resolve()  # a link stays a link
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().rstrip(".")
