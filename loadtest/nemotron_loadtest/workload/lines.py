"""A file of requests, one JSON object a line, of which only the places of the lines are kept in memory."""

from __future__ import annotations

import codecs
from array import array
from pathlib import Path
from typing import Any

import msgspec

from nemotron_loadtest.errors import ScenarioError


class RequestLine(msgspec.Struct, frozen=True):
    """One request.

    Attributes:
        messages: In OpenAI's shape; or
        prompt: a complete prompt.
        options: Options of the client.
    """

    messages: tuple[dict[str, Any], ...]
    prompt: str | None
    options: dict[str, Any]


class RequestLines:
    """The requests of a file.

    Args:
        path: It is read once to check it, and then a line at a time.

    Raises:
        ScenarioError: no such file, none in it, or a line that cannot be used, with its number.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._begins, self._sizes = array("q"), array("q")
        try:
            self._index()
        except OSError as error:
            raise ScenarioError(f"{path}: {error.strerror}, expected requests; workload.path names them") from None
        if not self._begins:
            raise ScenarioError(f"{path}: there is no request in it, expected one JSON object a line")

    def __len__(self) -> int:
        return len(self._begins)

    def __getitem__(self, index: int) -> RequestLine:
        # Opened each time: processes that are forked would share a position in it.
        with self._path.open("rb") as file:
            file.seek(self._begins[index])
            return _request(file.read(self._sizes[index]))

    def _index(self) -> None:
        begin = 0
        with self._path.open("rb") as file:
            if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                begin = len(codecs.BOM_UTF8)
            file.seek(begin)
            for number, line in enumerate(file, start=1):
                if line.strip():
                    self._check(number, line)
                    self._begins.append(begin)
                    self._sizes.append(len(line))
                begin += len(line)

    def _check(self, number: int, line: bytes) -> None:
        try:
            check_options(_request(line).options)
        except ValueError as error:
            raise ScenarioError(f"{self._path}, line {number}: {error}") from None


def _request(line: bytes) -> RequestLine:
    options = msgspec.json.decode(line, type=dict[str, Any])
    messages, prompt = options.pop("messages", None), options.pop("raw_prompt", None)
    if (messages is None) == (prompt is None):
        raise ValueError("expected one of messages and raw_prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise ValueError("raw_prompt is no text")
    if messages is not None and not (isinstance(messages, list) and all(isinstance(one, dict) for one in messages)):
        raise ValueError('messages is no list of messages, like [{"role": "user", "content": "…"}]')
    return RequestLine(tuple(messages or ()), prompt, options)


def check_options(options: dict[str, Any]) -> None:
    """Find mistakes before the load starts.

    Imports the client, and with it threads and sockets: only after gevent's patching, where there is any.

    Raises:
        ValueError: an option that does not exist, or of another type.
    """
    from nemotron_client import Options
    from nemotron_client._request import unknown_option

    if unknown := options.keys() - Options.__annotations__.keys():
        raise ValueError(unknown_option(min(unknown)))
    try:
        msgspec.convert(options, Options)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from None
