"""Questions about tokens, and the end of a thinking that goes on: what is asked beside answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nemotron_client import NemotronError
from nemotron_front.answering import Api, request_ids
from nemotron_front.anthropic import MESSAGES
from nemotron_front.ask import Ask
from nemotron_front.chat import CHAT
from nemotron_front.conversion import with_chats
from nemotron_front.errors import from_client, invalid
from nemotron_front.exchange import EXCHANGE, Exchange
from nemotron_front.fields import MOST_CHOICES
from nemotron_front.models import Models
from nemotron_front.reading import Field, Fields, shown

_MOST_TOKEN = 2**31 - 1
# No other name goes to the servers: requests that did not come this way have names of their own, which may be guessed.
_ID = re.compile(r"(?:chatcmpl-|cmpl-|resp_|msg_)?([0-9a-f]{32}(?:-[0-9]{1,2})?)")
_T = TypeVar("_T")
_Answer = Callable[[Exchange, dict[str, Any]], Awaitable[dict[str, Any]]]

CONTROL = Fields(
    (
        Field("id", doc="The answer's, such as `chatcmpl-…`.", kinds=("string",)),
        Field("action", doc="What is to happen to it.", kinds=("string",), values=("reasoning_end",)),
        Field("model", "ignored"),
    )
)
"""Of /v1/chat/completions/control."""
TOKENIZE = Fields(
    (
        Field("prompt", doc="A complete prompt, as for `/v1/completions`.", kinds=("string",)),
        Field("add_special_tokens", doc="False leaves out the token that begins every prompt.", kinds=("boolean",)),
        Field("return_token_strs", "refused", "ask /detokenize for the text of tokens", only=(False,)),
        Field("model", "ignored"),
    )
)
"""Of /tokenize with a prompt; with `messages`, it has the fields of a chat completion."""
DETOKENIZE = Fields((Field("tokens", doc="Token ids.", kinds=("array of integers",)), Field("model", "ignored")))
"""Of /detokenize."""


def bodies(apis: Iterable[Api]) -> dict[str, Fields]:
    """From their paths to the fields that a body has there."""
    counted = {_count_path(api): api.fields for api in apis}
    return {**counted, f"{CHAT.path}/control": CONTROL, "/tokenize": with_chats(TOKENIZE), "/detokenize": DETOKENIZE}


def routes(models: Models, apis: Iterable[Api]) -> list[Route]:
    """Their routes, which raise ApiError and NemotronError.

    Args:
        models: Which names there are.
        apis: Those whose requests may be counted.
    """

    def posted(path: str, answer: _Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            exchange: Exchange = request.scope[EXCHANGE]
            body = await exchange.json()
            body["model"] = await models.resolve(body.get("model"))
            return Response(msgspec.json.encode(await answer(exchange, body)), media_type="application/json")

        return Route(path, endpoint, methods=["POST"])

    async def tokenize(exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
        info, ids = await models.info(), await _ids(exchange, body)
        return {"count": len(ids), "max_model_len": info and info.max_seq_len, "tokens": ids, "token_strs": None}

    return [
        *(posted(_count_path(api), _counting(api)) for api in apis),
        posted(f"{CHAT.path}/control", _control),
        posted("/tokenize", tokenize),
        posted("/detokenize", _detokenize),
    ]


def _count_path(api: Api) -> str:
    return f"{api.path}/{'count_tokens' if api is MESSAGES else 'input_tokens'}"


def _counting(api: Api) -> _Answer:
    async def count(exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
        tokens = await _asked(exchange, exchange.client.count_tokens, api.read(body))
        return {"object": "response.input_tokens", "input_tokens": tokens}

    return count


async def _control(exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
    """End the thinking of an answer now. `success` is false where it does not think, or is not there."""
    given = CONTROL.read(body)
    for name in ("id", "action"):
        if name not in given:
            raise invalid(name, f"{name}: nothing was given; send the answer's id, and the action reasoning_end")
    named = _ID.fullmatch(given["id"])
    one = named[1] if named else ""
    running = {other.id: len(other.streams) for other in exchange.front.exchanges}
    # Another process may have it, with any number of choices.
    ids = request_ids(one, running[one]) if one in running else [one, *request_ids(one, MOST_CHOICES)]
    ended = await asyncio.gather(*map(exchange.client.end_thinking, ids if named else ()))
    return {"object": "chat.completion.control", "id": given["id"], "action": given["action"], "success": any(ended)}


async def _ids(exchange: Exchange, body: dict[str, Any]) -> tuple[int, ...]:
    if "messages" in body:
        TOKENIZE.read({name: body.pop(name) for name in ("return_token_strs",) if name in body})
        return (await _asked(exchange, exchange.client.tokenize, CHAT.read(body))).token_ids
    given = TOKENIZE.read(body)
    if "prompt" not in given:
        raise invalid("prompt", "prompt: nothing was given, expected a string, or messages")
    text = given["prompt"]
    with _told_as(exchange, text_input="prompt"):
        found = await exchange.client.tokenize(text)
    begun = not given.get("add_special_tokens", True) and found.text != text and found.text.endswith(text)
    return found.token_ids[begun:]


async def _detokenize(exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
    tokens = DETOKENIZE.read(body).get("tokens", ())
    for token in tokens:
        if not 0 <= token <= _MOST_TOKEN:
            raise invalid("tokens", f"tokens: {shown(token)} was given, expected ids of tokens")
    with _told_as(exchange, input_ids="tokens"):
        return {"prompt": await exchange.client.detokenize(list(map(int, tokens))) if tokens else ""}


async def _asked(exchange: Exchange, question: Callable[..., Awaitable[_T]], ask: Ask) -> _T:
    """Ask a question about the prompt of a request."""
    if len(ask.prompts) > 1:
        raise invalid("prompt", "prompt: several were given, expected one")
    with _told_as(exchange, **ask.names):
        return await question(ask.prompts[0] if ask.prompts else ask.messages, **ask.options)


@contextmanager
def _told_as(exchange: Exchange, **names: str) -> Iterator[None]:
    """Errors of the server name what the caller wrote, see `ApiError.renamed`."""
    try:
        yield
    except NemotronError as error:
        raise from_client(error, exchange.id).renamed(names) from error
