"""Endpoints with OpenAI's API: whether one can be asked, and what an error in mid-run means."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import msgspec

from nemotron_evals.errors import EvalError, UnreachableError
from nemotron_serving.errors import did_you_mean

KEY_VARIABLES = ("NEMOTRON_API_KEY", "OPENAI_API_KEY")
"""Of the endpoint; the first that is set is taken, where no file is given."""

JUDGE_KEY_VARIABLES = ("NEMOTRON_JUDGE_API_KEY",)
"""Of the judge."""

_NO_KEY = "none"
_PATIENCE_S = 60.0
_ALIVE_S = 10.0
_FULL = (429, 503)
_REFUSED = (401, 403, 404)


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint that has answered.

    Attributes:
        url: Of the API, without a slash at its end.
        model: The model's name there.
        key: Its key; never logged or written.
        package: The system fingerprint of its answers; None where they have none.
    """

    url: str
    model: str
    key: str
    package: str | None


def read_key(path: Path | None, variables: tuple[str, ...]) -> str:
    """A key from a file, or else from the environment; a word that no endpoint minds where there is none.

    Raises:
        EvalError: The file cannot be read, or is empty.
    """
    if path is None:
        return next((os.environ[name] for name in variables if os.environ.get(name)), _NO_KEY)
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EvalError(f"the key file {path} cannot be read: {error}") from None
    if not key or "\n" in key:
        raise EvalError(f"the key file {path} has {'lines' if key else 'nothing'}, expected a key on one line")
    return key


def connect(url: str, model: str | None, key: str, what: str = "the endpoint") -> Endpoint:
    """Ask an endpoint for its models, and the model for one token.

    Raises:
        EvalError: The URL or the name of the model is wrong.
        UnreachableError: Nobody answers, or not as OpenAI's API does.
    """
    url = _checked(url)
    with httpx.Client(timeout=_PATIENCE_S, headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        name = _model(client, url, model, what)
        return Endpoint(url, name, key, _first_words(client, url, name, what))


async def failure(error: BaseException, url: str) -> str:
    """What is to be said of a request that failed for good, and counts as a wrong answer.

    Raises:
        UnreachableError: It is not the question that failed, but the endpoint: it is gone, full, or refuses us.
    """
    root = _root(error)
    status = getattr(root, "status_code", None)
    said = _one_line(str(root)) or type(root).__name__
    if status in _FULL:
        raise UnreachableError(f"{url} is too full for so many requests at once ({said}); lower --concurrency")
    if status in _REFUSED:
        raise UnreachableError(f"{url} refuses requests: {said}")
    if (status is None or status >= 500) and not await _alive(url):
        raise UnreachableError(f"{url} no longer answers: {said}")
    return said


async def _alive(url: str) -> bool:
    async with httpx.AsyncClient(timeout=_ALIVE_S, trust_env=False) as client:
        try:
            return bool((await client.get(f"{url}/models")).status_code < 500)
        except httpx.HTTPError:
            return False


def _root(error: BaseException) -> BaseException:
    """The endpoint's error, within those of Inspect: one of theirs has the whole question in its text."""
    while True:
        attempt = getattr(error, "last_attempt", None)
        inner = attempt.exception() if attempt is not None else None
        if inner is None and isinstance(error, BaseExceptionGroup):
            inner = error.exceptions[0]
        if inner is None and hasattr(error, "provider_message"):
            inner = error.__cause__
        if inner is None:
            return error
        error = inner


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EvalError(f"{url!r} is no URL: expected one such as http://gpu-1:9000/v1")
    if parts.username or parts.password:
        raise EvalError("a key or a user in a URL ends in logs: give the key with a file or the environment")
    return url.rstrip("/")


def _model(client: httpx.Client, url: str, model: str | None, what: str) -> str:
    try:
        answer = client.get(f"{url}/models")
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"{what} {url} cannot be reached: {_one_line(str(error)) or type(error).__name__}. Is it up, and the port "
            "right?"
        ) from None
    if answer.status_code in (401, 403):
        raise UnreachableError(f"{what} {url} wants a key, or another one: status {answer.status_code}")
    try:
        models = answer.json()["data"]
        names = [str(one["id"]) for one in models]
        roots = {(one.get("root"), one.get("parent")) for one in models}
    except (ValueError, KeyError, TypeError, AttributeError):
        hint = "" if urlsplit(url).path.endswith("/v1") else f"; try {url}/v1"
        raise UnreachableError(
            f"{url} is no endpoint of OpenAI's API: {url}/models gave status {answer.status_code} and no list of models"
            f"{hint}"
        ) from None
    one_model = len(roots) == 1 and roots != {(None, None)}  # under several names
    if model is None and (len(names) == 1 or one_model):
        return names[0]
    if model is None:
        raise EvalError(f"{what} {url} has {len(names)} models: name one with --model: {', '.join(names)}")
    if model not in names:
        raise EvalError(
            f"{what} {url} has no model {model!r}{did_you_mean(model, names)} It has {', '.join(names) or 'none'}"
        )
    return model


def _first_words(client: httpx.Client, url: str, model: str, what: str) -> str | None:
    """One token in the way in which all are asked for: streamed, with a count; returns the system fingerprint."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        answer = client.post(f"{url}/chat/completions", json=body)
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"{what} {url} does not answer a first question: {_one_line(str(error)) or type(error).__name__}"
        ) from None
    if answer.status_code != 200:
        raise UnreachableError(
            f"{what} {url} refuses a first question: status {answer.status_code}, {_one_line(answer.text)}"
        )
    events = list(_events(answer.text))
    if not events:
        raise UnreachableError(f"{what} {url} is no endpoint of OpenAI's API: it does not stream chat completions")
    if not any(isinstance(event.get("usage"), dict) for event in events):
        raise UnreachableError(
            f"{what} {url} sends no usage with a stream that asks for it (stream_options.include_usage), and tokens "
            "are counted by it"
        )
    return next((str(event["system_fingerprint"]) for event in events if event.get("system_fingerprint")), None)


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("data:") and not line.endswith("[DONE]"):
            try:
                event = json.loads(line.removeprefix("data:"))
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
