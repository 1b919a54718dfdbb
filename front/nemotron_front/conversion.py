"""Another API's request as that of a chat completion, with where each part of it came from.

So what a chat completion can say is read in one place, and errors name what the caller wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nemotron_front.ask import Ask
from nemotron_front.chat import read_chat
from nemotron_front.errors import ApiError, invalid, renamed
from nemotron_front.fields import CHAT
from nemotron_front.reading import Fields, shown


class Conversion:
    """A chat completion's body that grows.

    Attributes:
        given: The API's own fields, looked at, by (dotted) name.
    """

    def __init__(self, body: Mapping[str, Any], own: Fields) -> None:
        """Take over what both APIs call the same.

        Args:
            body: What the caller sent.
            own: The fields that a chat completion does not have, or has with another meaning.

        Raises:
            ApiError: one of these has a value that it cannot have.
        """
        mine = _tops(own)
        self.given = own.read({name: value for name, value in body.items() if name in mine})
        self._body = {name: value for name, value in body.items() if name not in mine}
        self._messages: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}

    def put(self, name: str, value: Any, given: str) -> None:
        """Set a field that the caller called `given`; None sets none."""
        if value is not None:
            self._body[name] = value
            self._names[name] = given

    def named(self, name: str, given: str) -> None:
        """Say that a part of a field, such as `tools[0].function`, was called `given`."""
        self._names[name] = given

    def message(self, role: str, content: Any, given: str, given_content: str = "", **more: Any) -> None:
        """Add a message that the caller called `given`, and its content `given_content`, if not `content` as here."""
        at = f"messages[{len(self._messages)}]"
        self._names |= {at: given, f"{at}.content": given_content or f"{given}.content"}
        self._messages.append({"role": role, "content": content, **more})

    def call(self, call_id: Any, name: Any, arguments: Any, given: str) -> None:
        """Add a tool call, to the assistant's message if that is the last one."""
        if not self._messages or self._messages[-1]["role"] != "assistant":
            self.message("assistant", "", given)
        calls = self._messages[-1].setdefault("tool_calls", [])
        at = f"messages[{len(self._messages) - 1}].tool_calls[{len(calls)}]"
        self._names |= {at: given, f"{at}.function": given}
        calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})

    def read(self, said: Mapping[str, Any]) -> Ask:
        """What all of it asks for.

        Args:
            said: What the answer says back.

        Raises:
            ApiError: it can never be answered.
        """
        try:
            ask = read_chat({**self._body, "messages": self._messages})
        except ApiError as error:
            raise error.renamed(self._names) from None
        names = {name: renamed(given, self._names) for name, given in ask.names.items()}
        return replace(ask, names={**self._names, **names}, said=said)


def with_chats(own: Fields) -> Fields:
    """All fields of an API that is read by a `Conversion`: its own, and those of chat completions."""
    mine = _tops(own)
    return Fields((*own.rows, *(row for row in CHAT.rows if row.name.partition(".")[0] not in mine)))


def _tops(own: Fields) -> set[str]:
    return {row.name.partition(".")[0] for row in own.rows}


def objects(where: str, values: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in a list, without their nulls, each with where it stands. Raises ApiError for all else."""
    for number, value in enumerate(values):
        at = f"{where}[{number}]"
        if not isinstance(value, dict):
            raise invalid(at, f"{at}: {shown(value)} was given, expected an object")
        yield at, {name: one for name, one in value.items() if one is not None}


def text_only(where: str, kind: Any, expected: str) -> ApiError:
    """The refusal of something that is not made of text."""
    message = f"{where}: the type {shown(kind)} was given, expected {expected}"
    return invalid(where, message, "unsupported_parameter" if kind else "invalid_value")
