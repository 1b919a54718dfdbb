"""One question and its answer, for scripts: the answer alone on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, TextIO

from nemotron_client._client import Client
from nemotron_client._types import ContentDelta, Event, ReasoningDelta, Reply, ToolCallDelta
from nemotron_client.chat.problems import finish_note, finish_status
from nemotron_client.chat.safe_text import SafeStream, encodable, safe_json, safe_line
from nemotron_client.chat.session import Session


def answer(client: Client, session: Session, *, as_json: bool) -> int:
    """Answer the session's question.

    Args:
        client: The server.
        session: With the question.
        as_json: Write one JSON object, in place of the answer's text.

    Returns:
        The exit status.

    Raises:
        NemotronError: the answer did not come.
    """
    with client.stream_chat(session.conversation(), **session.settings.options()) as stream:
        if not as_json:
            thinking, content = _Part(sys.stderr, shown=sys.stderr.isatty()), _Part(sys.stdout)
            for event in stream:
                _show(event, thinking, content)
            thinking.end()
            content.end()
        reply = stream.get_final()
    if as_json:
        _write(sys.stdout, safe_json(json.dumps(_as_object(reply), ensure_ascii=not _is_utf8(sys.stdout))) + "\n")
    if reply.tool_call_error:
        _write(sys.stderr, f"nemotron-chat: a tool call could not be read: {safe_line(reply.tool_call_error.reason)}\n")
    if note := finish_note(reply.finish_reason):
        _write(sys.stderr, f"nemotron-chat: the answer was {note}\n")
    return finish_status(reply.finish_reason)


class _Part:
    """Text that is written as it comes, and ends with a newline if there was any."""

    def __init__(self, file: TextIO, *, shown: bool = True) -> None:
        self._file = file
        self._shown = shown
        self._text = SafeStream()
        self._last = ""

    def write(self, text: str) -> None:
        self._put(self._text.feed(text))

    def end(self) -> None:
        self._put(self._text.end())
        if self._last not in ("", "\n"):
            self._put("\n")
        self._last = ""

    def _put(self, text: str) -> None:
        if text and self._shown:
            _write(self._file, text, dim=self._file is sys.stderr)
            self._last = text[-1]


def _show(event: Event, thinking: _Part, content: _Part) -> None:
    if isinstance(event, ReasoningDelta):
        thinking.write(event.text)
        return
    thinking.end()
    if isinstance(event, ContentDelta):
        content.write(event.text)
    elif isinstance(event, ToolCallDelta):
        content.end()
        content.write(f"{safe_line(event.call.name)}({safe_line(event.call.arguments)})\n")


def _as_object(reply: Reply) -> dict[str, Any]:
    whole = dataclasses.asdict(reply)
    names = ("content", "reasoning_content", "tool_call_error", "finish_reason", "usage", "timings", "request_id")
    return {**{name: whole[name] for name in names}, "tool_calls": [one.as_message_part() for one in reply.tool_calls]}


def _write(file: TextIO, text: str, *, dim: bool = False) -> None:
    text = encodable(text, file.encoding)
    file.write(f"\x1b[2m{text}\x1b[0m" if dim else text)
    file.flush()


def _is_utf8(file: TextIO) -> bool:
    return file.encoding.lower().replace("-", "") == "utf8"
