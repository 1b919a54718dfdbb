"""OpenAI's API in a load test's words: a request's body, the chunks of its stream, and errors. Does no I/O.

What a server says of tokens is kept apart from what it does not say.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_client import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotReadyError,
    NemotronError,
    OverloadedError,
    Reply,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    Timings,
    ToolCall,
    Usage,
)
from nemotron_client._request import chat_call, generate_call
from nemotron_loadtest.samples import Arrival, Counted
from nemotron_loadtest.scenario import OpenAI
from nemotron_loadtest.users.asker import Answer
from nemotron_loadtest.workload import RequestSpec

_TIMEOUT_S = 600.0
_JSON_INPUTS = ("messages", "tools", "tool_choice", "response_format", "logit_bias")
_NAMES = {"text_input": "prompt", "stop_words": "stop", "return_log_probs": "logprobs"}
_NOT_SENT = ("thinking", "raw_prompt", "timeout_ms")
_ENDS_EARLY = ("timeout", "cancelled", "repetition")
_BY_STATUS: dict[int, type[NemotronError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    429: OverloadedError,
    502: ServerUnavailableError,
    503: OverloadedError,
}
_BY_CODE: dict[str, type[NemotronError]] = {
    "server_overloaded": OverloadedError,
    "rate_limit_error": OverloadedError,
    "not_ready": ModelNotReadyError,
    "unavailable_error": ModelNotReadyError,  # llama.cpp while it loads the model
    "shutting_down": ServerUnavailableError,
    "invalid_request_error": InvalidRequestError,
}
_TIMEOUTS = ("deadline_exceeded", "request_timeout")


def request_of(spec: RequestSpec, model: str, way: OpenAI) -> tuple[str, bytes, float]:
    """A request of a scenario in OpenAI's words.

    Args:
        spec: What to ask. Its options are the client's, and are checked as the client does.
        model: The server's name of the model.
        way: How the server wants to be told of thinking.

    Returns:
        The path below /v1, the body, and the seconds after which the user gives up.

    Raises:
        TypeError: an option of another type than the client's; ValueError: out of its range.
    """
    options = {name: value for name, value in spec.options.items() if name != "request_id"}
    chat = spec.prompt is None
    messages = _with_system_line(spec.messages, spec.thinking) if way.thinking == "system" else spec.messages
    call = chat_call(messages, options) if spec.prompt is None else generate_call(spec.prompt, options)
    counts = {"include_usage": True} | ({"continuous_usage_stats": True} if way.counts == "each" else {})
    body: dict[str, Any] = {"model": model, "stream_options": counts}
    for name, value in call.inputs.items():
        is_json = name in _JSON_INPUTS and value[:1] in ("{", "[")
        body[_NAMES.get(name, name)] = msgspec.Raw(value.encode()) if is_json else value
    budget, timeout_ms = body.pop("max_thinking_tokens", None), body.get("timeout_ms")
    for name in _NOT_SENT:
        body.pop(name, None)
    if "min_tokens" in body and body["min_tokens"] == body.get("max_tokens"):
        body["ignore_eos"] = True  # the word of servers that do not know min_tokens
    if chat and way.thinking == "chat_template_kwargs":
        body["chat_template_kwargs"] = {"enable_thinking": spec.thinking}
    elif chat and way.thinking == "reasoning_effort":
        body["reasoning_effort"] = "high" if spec.thinking else "none"
    if budget is not None:
        body |= {"nvext": {"max_thinking_tokens": budget}} if way.budget == "nvext" else {way.budget: budget}
    path = "/chat/completions" if chat else "/completions"
    return path, msgspec.json.encode(body), timeout_ms / 1e3 if timeout_ms else _TIMEOUT_S


def _with_system_line(messages: tuple[dict[str, Any], ...], thinking: bool) -> tuple[dict[str, Any], ...]:
    """The conversation with the line that the model's card has for thinking; a model has one system message."""
    line = f"detailed thinking {'on' if thinking else 'off'}"
    if messages and messages[0].get("role") == "system":
        return ({**messages[0], "content": f"{line}\n\n{messages[0]['content']}"}, *messages[1:])
    return ({"role": "system", "content": line}, *messages)


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: Any = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_tokens_details: _PromptDetails | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


class ChunkReader:
    """Makes an `Answer` of the chunks of one stream. Its time is what it is told.

    A chunk is no token. With a count in every chunk the tokens of each are known. With a count at the end alone they
    are spread evenly over the chunks that brought text: which is exact where a server sends a token a chunk, as the
    count then shows. Without any count a chunk is taken for a token. `Answer.counted` says which it was.
    """

    def __init__(self, begin_s: float, *, request_id: str, url: str) -> None:
        self._where = {"request_id": request_id, "url": url}
        self._begin_s = begin_s
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._came: list[tuple[float, int | None]] = []  # of chunks with text: when, and the tokens so far if known
        self._first_answer_s: float | None = None
        self._finish_reason = ""
        self._usage: _Usage | None = None

    def take(self, event: bytes, now_s: float) -> None:
        """An event of the stream has come.

        Raises:
            NemotronError: it says that the request has failed, or it is none of this API.
        """
        if event == b"[DONE]":
            return
        try:
            chunk = _decoder.decode(event)
        except msgspec.DecodeError as error:
            raise ServerError(f"{self._where['url']} sent what is no chunk: {error}", **self._where) from None
        if chunk.error is not None:
            raise error_of(0, chunk.error, **self._where)
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices[:1]:
            if self._add(choice.delta or _Delta(content=choice.text), now_s):
                self._came.append((now_s, chunk.usage.completion_tokens if chunk.usage else None))
            if choice.finish_reason:
                early = choice.finish_reason == "length" and choice.stop_reason in _ENDS_EARLY
                self._finish_reason = choice.stop_reason if early else choice.finish_reason

    def end(self) -> None:
        """The stream has ended.

        Raises:
            ServerUnavailableError: before its answer had.
        """
        if not self._finish_reason:
            raise ServerUnavailableError("The stream broke off before the end of the answer", **self._where)

    def fill(self, answer: Answer, now_s: float) -> None:
        """Put what has come into an answer; the whole reply too if it is whole."""
        answer.first_answer_s = self._first_answer_s
        answer.counted, totals = self._totals()
        answer.arrivals = tuple(Arrival(at, total) for (at, _), total in zip(self._came, totals, strict=True))
        usage = self._usage or _Usage()
        answer.prompt_tokens = usage.prompt_tokens
        answer.output_tokens = usage.completion_tokens or (totals[-1] if totals else 0)
        answer.reasoning_tokens = (usage.completion_tokens_details or _OutputDetails()).reasoning_tokens
        answer.cached_tokens = (usage.prompt_tokens_details or _PromptDetails()).cached_tokens
        if self._finish_reason:
            answer.reply = Reply(
                content="".join(self._content),
                reasoning_content="".join(self._reasoning),
                tool_calls=tuple(_tool_call(call) for _, call in sorted(self._calls.items())),
                finish_reason=self._finish_reason,
                thinking_budget_reached=False,
                usage=Usage(answer.prompt_tokens, answer.output_tokens, answer.reasoning_tokens or 0),
                timings=Timings(total_s=now_s - self._begin_s),
                request_id=self._where["request_id"],
            )

    def _add(self, delta: _Delta, now_s: float) -> bool:
        """Whether it brought anything that the model has written."""
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._reasoning.append(reasoning)
        if delta.content:
            self._content.append(delta.content)
        for fragment in delta.tool_calls or ():
            call = self._calls.setdefault(fragment.index, _Call(function=_Function(name="", arguments="")))
            call.id = call.id or fragment.id
            function, new = call.function, fragment.function
            if function is not None and new is not None:
                function.name = function.name or new.name
                given = new.arguments if isinstance(new.arguments, str | None) else _text(new.arguments)
                function.arguments += given or ""
        answers = bool(delta.content or delta.tool_calls)
        if answers and self._first_answer_s is None:
            self._first_answer_s = now_s
        return answers or bool(reasoning)

    def _totals(self) -> tuple[Counted, list[int]]:
        """Output tokens at each chunk with text, and how they are known."""
        known = [total for _, total in self._came if total is not None]
        chunks = len(self._came)
        if len(known) == chunks:
            return "each", known
        if self._finish_reason and self._usage and self._usage.completion_tokens:
            total = self._usage.completion_tokens
            return "end", [total * number // chunks for number in range(1, chunks + 1)]
        return "never", list(range(1, chunks + 1))


def _tool_call(call: _Call) -> ToolCall:
    function = call.function or _Function()
    return ToolCall(call.id or "", function.name or "", function.arguments or "")


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def error_of(status: int, error: Any, *, request_id: str, url: str) -> NemotronError:
    """The client's error for one of OpenAI's: its kinds are the outcomes that reports count.

    Args:
        status: Of HTTP; 0 for an error within a stream.
        error: What stands in `error`: an object with message, type and code, or a text.
        request_id: The request at fault.
        url: The server.
    """
    where = {"request_id": request_id, "url": url}
    found: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
    message = str(found.get("message") or f"HTTP status {status}")
    words = [str(found[name]) for name in ("code", "type") if found.get(name) is not None]
    code = next((int(word) for word in words if word.isdecimal()), 0)  # vLLM's is the HTTP status
    status = status if status >= http.HTTPStatus.BAD_REQUEST else code
    if any(word in _TIMEOUTS for word in words) or status in (408, 504):
        return RequestTimeoutError(message, phase="total", **where)
    told = next((_BY_CODE[word] for word in words if word in _BY_CODE), None)
    if told is not None and status in (0, http.HTTPStatus.SERVICE_UNAVAILABLE):
        return told(message, **where)
    if status in _BY_STATUS:
        return _BY_STATUS[status](message, **where)
    return (InvalidRequestError if 0 < status < http.HTTPStatus.INTERNAL_SERVER_ERROR else ServerError)(
        message, **where
    )


def error_in(content: bytes) -> Any:
    """What stands in the body of a refusal; vLLM, SGLang and TensorRT-LLM have, or had, its fields at the top."""
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return content[:200].decode(errors="replace")
    if isinstance(found, dict):
        return found.get("error") or found.get("detail") or found
    return found
