"""OpenAI's completions of complete prompts: what is asked, and how answers are written.

A prompt goes to the model as it stands. Special tokens in its text are special tokens: who writes others' text into it
lets them write control tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from nemotron_client import ContentDelta, Event, LogprobsDelta, ReasoningDelta, Reply, Usage
from nemotron_front import fields
from nemotron_front.answering import DONE, KEEP_ALIVE, Api, event_of
from nemotron_front.ask import Ask
from nemotron_front.chat import CLOSE, as_line, fingerprint, fingerprint_of, finish_of, read_ask, usage_json
from nemotron_front.errors import ApiError, invalid
from nemotron_front.fields import MOST_CHOICES
from nemotron_front.formats import read_format
from nemotron_front.reading import shown


def read_completions(body: dict[str, Any]) -> Ask:
    """What the body of a completion asks for.

    Args:
        body: Its model is resolved.

    Raises:
        ApiError: it can never be answered.
    """
    given = fields.COMPLETIONS.read(body)
    options, names = fields.COMPLETIONS.options(given)
    if (found := read_format(given)) is not None:
        names["response_format"], options["response_format"] = found
    if (alternatives := given.get("logprobs")) is not None:
        options["return_log_probs"], names["return_log_probs"] = True, "logprobs"
        if not alternatives:
            del options["top_logprobs"]
    ask = read_ask(given, options, {"text_input": "prompt", **names}, prompts=_prompts(given.get("prompt")))
    if ask.choices > MOST_CHOICES:
        message = f"prompt: {ask.choices} answers were asked for, expected at most {MOST_CHOICES}: prompts times n"
        raise invalid("prompt", message)
    return ask


def _prompts(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not given:
        raise invalid("prompt", "prompt: nothing was given, expected a string or a list of strings")
    for number, prompt in enumerate(given):
        if not isinstance(prompt, str):
            where = f"prompt[{number}]"
            hint = "; token ids are not taken, send their text" if isinstance(prompt, (int, list)) else ""
            raise invalid(where, f"{where}: {shown(prompt)} was given, expected a string{hint}")
    return tuple(given)


class CompletionsShape:
    """Writes the answer to one request."""

    keep_alive = KEEP_ALIVE

    def __init__(self, ask: Ask, request_id: str) -> None:
        self._ask = ask
        self._head = {"id": f"cmpl-{request_id}", "object": "text_completion", "created": int(time.time())}
        self._head |= {"model": ask.model}
        self._fingerprints: list[dict[str, str]] = [{}] * ask.choices
        self._logprobs = [_Logprobs() for _ in range(ask.choices)]
        self._usages: list[Usage | None] = [None] * ask.choices
        self._thinking: set[int] = set()  # choices whose thinking is open within their text

    def begin(self, choice: int, usage: Usage | None, package: str) -> bytes:  # noqa: ARG002 - it begins with its text
        """What comes before the first event of a choice."""
        self._fingerprints[choice] = fingerprint(package)
        return b""

    def event(self, choice: int, event: Event, usage: Usage | None) -> bytes:
        """What an event becomes."""
        if usage is not None:
            self._usages[choice] = usage
        match event:
            case ContentDelta(text):
                closing = CLOSE if choice in self._thinking else ""
                self._thinking.discard(choice)
                return self._chunk(choice, {"text": closing + text})
            case ReasoningDelta(text):
                if self._ask.thinking == "within":
                    self._thinking.add(choice)
                said = self._said(text, "")
                return self._chunk(choice, said) if any(said.values()) else b""
            case LogprobsDelta(entries):
                self._logprobs[choice].add(entries)
        return b""

    def end(self, choice: int, reply: Reply) -> bytes:
        """What comes after the last event of a choice."""
        self._usages[choice] = reply.usage
        return self._chunk(choice, {"text": "", **finish_of(reply)})

    def done(self, replies: Sequence[Reply]) -> bytes:
        """What comes when all choices have ended."""
        if not self._ask.include_usage:
            return DONE
        usage = usage_json([reply.usage for reply in replies], self._ask.n)
        head = {**self._head, **fingerprint_of(replies)}
        return event_of(as_line({**head, "choices": [], "usage": usage})) + DONE

    def failed(self, error: ApiError) -> bytes:
        """What comes in place of the rest."""
        return event_of(error.json()) + DONE

    def whole(self, replies: Sequence[Reply], events: Sequence[Sequence[Event]]) -> bytes:  # noqa: ARG002 - no order
        """The answer that is not streamed."""
        choices = []
        for choice, reply in enumerate(replies):
            logprobs = _Logprobs()
            logprobs.add(reply.logprobs)
            said = self._said(reply.reasoning_content, reply.content)
            choices.append({"index": choice, **said, "logprobs": logprobs.taken(), **finish_of(reply)})
        usage = usage_json([reply.usage for reply in replies], self._ask.n)
        return as_line({**self._head, **fingerprint_of(replies), "choices": choices, "usage": usage})

    def _said(self, thinking: str, text: str) -> dict[str, str]:
        """The text, with thinking that the prompt has opened in the place that the caller wants it in."""
        if not thinking or self._ask.thinking == "hidden":
            return {"text": text}
        if self._ask.thinking == "within":
            return {"text": thinking + (CLOSE if text else "") + text}
        return {"text": text, **dict.fromkeys(self._ask.reasoning_names, thinking)}

    def _chunk(self, choice: int, said: dict[str, Any]) -> bytes:
        logprobs = self._logprobs[choice].taken()
        one = {"index": choice, "logprobs": logprobs, "finish_reason": None, **said}
        usage: dict[str, Any] = {"usage": None} if self._ask.include_usage else {}
        if self._ask.continuous_usage and any(self._usages):
            usage = {"usage": usage_json(self._usages, self._ask.n)}
        return event_of(as_line({**self._head, **self._fingerprints[choice], "choices": [one], **usage}))


COMPLETIONS = Api("/v1/completions", read_completions, CompletionsShape, fields.COMPLETIONS)


class _Logprobs:
    """Log probabilities in the form that completions have: a list for each property of a token."""

    def __init__(self) -> None:
        self._entries: list[Mapping[str, Any]] = []
        self._offset = 0

    def add(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """More tokens, in the form of chat completions."""
        self._entries += entries

    def taken(self) -> dict[str, Any] | None:
        """Those that were added since it was called last; None where there are none."""
        if not self._entries:
            return None
        entries, self._entries = self._entries, []
        tokens = [entry["token"] for entry in entries]
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [{top["token"]: top["logprob"] for top in entry["top_logprobs"]} for entry in entries],
            "text_offset": offsets,
        }
