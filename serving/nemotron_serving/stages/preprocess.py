"""A request's fields to prompt ids and settings: everything that can be refused is refused here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from nemotron_serving.chat.answer_form import resolve_answer_form
from nemotron_serving.chat.controls import ends_with, shown, tagged
from nemotron_serving.chat.formats import ChatRequest, PromptPart, open_chat_format
from nemotron_serving.chat.messages import Message, parse_messages, thinking_flag
from nemotron_serving.chat.tokenizer import PromptTokenizer, TooManyTokensError
from nemotron_serving.chat.tools import Tool
from nemotron_serving.contract import DEFAULTS, OPTIONS
from nemotron_serving.errors import InvalidRequestError, UnavailableError
from nemotron_serving.generation.budget import THINKING_CLOSE, ThinkingBudget, resolve_budget
from nemotron_serving.generation.sampling import check_words, resolve_sampling, resolve_stop_ids
from nemotron_serving.generation.settings import GenerationSettings, check_guide, prompt_ids_of
from nemotron_serving.heartbeat import Pulse, Work
from nemotron_serving.inputs import check_ranges, value_of
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.reasoning import Start
from nemotron_serving.output.tags import CLOSE_TAG, OPEN_TAG, READ_TAGS
from nemotron_serving.package import Package

_THINKING_OPEN = f"{OPEN_TAG}\n"
_LONG_TEXTS = tuple(option.name for option in OPTIONS if option.to == "prompt" and option.dtype == "STRING")
_LONG_CHARACTERS = 16_384  # 5 ms


class Preprocessor:
    """Reads the ensemble's inputs for one package."""

    def __init__(self, package: Package) -> None:
        self._config = package.serving
        self._package = package.manifest.name
        self._format = open_chat_format(package)
        self._tokenizer = PromptTokenizer(package.tokenizer_path)
        self._close_ids = tuple(self._tokenizer.encode(tagged(THINKING_CLOSE)).tolist())

    def is_long(self, fields: Mapping[str, Any]) -> bool:
        """Whether it takes several milliseconds to prepare this request."""
        return sum(len(fields.get(field, "")) for field in (*_LONG_TEXTS, "input_ids")) > _LONG_CHARACTERS

    def text_of(self, fields: Mapping[str, Any]) -> str:
        """The text of the token ids in `input_ids`, for a caller that sends them in place of a text or messages.

        Raises:
            InvalidRequestError: no ids of this tokenizer, more than a prompt may have, or something beside them.
        """
        if others := fields.keys() - {"input_ids"}:
            raise InvalidRequestError(min(others), "does not go with input_ids, which ask for their text alone")
        return self._tokenizer.decode(
            prompt_ids_of(fields, self._tokenizer.vocabulary_size, self._config.limits.max_seq_len)
        )

    def prompt_text(self, ids: npt.NDArray[np.int32]) -> str:
        """A prompt as the model reads it, control tokens by their names."""
        return self._tokenizer.decode(ids.tolist())

    def prepare(self, fields: Mapping[str, Any]) -> tuple[npt.NDArray[np.int32], GenerationSettings]:
        """Turn one request into prompt ids, shape [n], and settings.

        Args:
            fields: Values by input name of the ensemble; absent ones were not sent.

        Raises:
            InvalidRequestError: naming the field, what was given and what was expected.
        """
        config, vocabulary_size = self._config, self._tokenizer.vocabulary_size
        self._check_sizes(fields)
        check_ranges(fields)
        form = resolve_answer_form(fields, self._format.tool_tags)
        guided = form.guide is not None
        said_off = False
        if value_of(fields, "raw_prompt"):
            parts = self._raw_parts(fields)
            thinking = ends_with(parts, OPEN_TAG)
            start: Start = "thinking" if thinking else "detect"
        else:
            messages = self._messages(fields)
            begun = _begun_answer(fields, messages, guided)
            asked = _asked_thinking(fields, messages) if begun is None else False
            said_off = asked is False and begun is None
            parts, thinking = self._chat_parts(messages, form.tools, asked, guided)
            start = _start(parts, thinking)
            if begun is not None:
                parts, start = [*parts, begun], "answer"
        ids = self._encoded(parts, _prompt_field(fields))
        max_tokens = self._max_tokens(fields, len(ids))
        check_words("stop_words", fields.get("stop_words", ()))
        stop_words = tuple(filter(None, fields.get("stop_words", ())))
        defaults = config.sampling_on if thinking else config.sampling_off
        settings = GenerationSettings(
            sampling=resolve_sampling(fields, defaults, {}, vocabulary_size),
            max_tokens=max_tokens,
            stream=value_of(fields, "stream"),
            timeout_ms=fields.get("timeout_ms", config.limits.default_timeout_ms),
            stop_token_ids=self._stop_token_ids(fields, stop_words),
            budget=None if said_off else self._budget(fields, max_tokens, thinking, guided),
            close_ids=() if start in ("answer", "closed") else self._close_ids,
            guide=form.guide,
            repetition_guard=fields.get("repetition_guard", thinking),
            priority=value_of(fields, "priority"),
            output=OutputRules(start, stop_words, form.tool_rules, _prompt_to_return(fields, parts), self._package),
        )
        check_guide(settings)
        return ids, settings

    def _messages(self, fields: Mapping[str, Any]) -> list[Message]:
        if ("text_input" in fields) == ("messages" in fields):
            given = "both were given" if "messages" in fields else "neither was given"
            raise InvalidRequestError("text_input", f"{given}; send either text_input or messages")
        if "messages" in fields:
            return parse_messages(fields["messages"], continues=value_of(fields, "continue_final_message"))
        return [Message("user", self._text_input(fields))]

    def _stop_token_ids(self, fields: Mapping[str, Any], stop_words: tuple[str, ...]) -> tuple[int, ...]:
        ids = resolve_stop_ids(fields, self._config.stop_token_ids, self._tokenizer.vocabulary_size)
        # Special tokens are in no text, so a stop word that is one is looked for among the tokens.
        special = {word: index for word in stop_words if (index := self._tokenizer.control_ids.get(word)) is not None}
        return (*ids, *(index for word, index in special.items() if word not in READ_TAGS and index not in ids))

    def _chat_parts(
        self, messages: list[Message], tools: tuple[Tool, ...], asked: bool | None, guided: bool
    ) -> tuple[list[PromptPart], bool]:
        """The prompt, and whether it has the model think: a template may have decided that, whatever was asked."""
        policy = self._config.thinking
        thinking = policy.default if asked is None else asked
        prefill = policy.prefill_on if thinking else policy.prefill_off
        parts = self._format.render(ChatRequest(messages, tools, thinking, prefill))
        if ends_with(parts, CLOSE_TAG):
            return parts, False
        if ends_with(parts, OPEN_TAG):
            if asked is not False:
                return parts, True
            return [*parts, *tagged(THINKING_CLOSE)], False
        if thinking and guided:
            # A guided answer begins where the thinking ends, so there has to be one.
            parts = [*parts, *tagged(_THINKING_OPEN)]
        return parts, thinking

    def _raw_parts(self, fields: Mapping[str, Any]) -> list[PromptPart]:
        for name in ("messages", "thinking", "tools", "tool_choice", "continue_final_message"):
            if name in fields and fields[name] is not DEFAULTS.get(name):
                raise InvalidRequestError(name, "does not go with raw_prompt; write it into text_input")
        return self._tokenizer.split_controls(self._text_input(fields))

    def _text_input(self, fields: Mapping[str, Any]) -> str:
        text: str = fields.get("text_input", "")
        if not text:
            raise InvalidRequestError("text_input", "empty, expected the user's text")
        return text

    def _check_sizes(self, fields: Mapping[str, Any]) -> None:
        limit = self._config.limits.max_prompt_bytes
        for field in _LONG_TEXTS:
            size = len(fields.get(field, "").encode())
            if size > limit:
                raise InvalidRequestError(field, f"{size} bytes were given, this server takes at most {limit}")

    def _encoded(self, parts: list[PromptPart], field: str) -> npt.NDArray[np.int32]:
        most = self._config.limits.max_seq_len - 1
        try:
            ids = self._tokenizer.encode(parts, most)
        except TooManyTokensError as error:
            raise _too_long(field, f"at least {error.at_least}", most) from None
        if len(ids) > most:
            raise _too_long(field, str(len(ids)), most)
        return ids

    def _max_tokens(self, fields: Mapping[str, Any], prompt_tokens: int) -> int:
        limit = self._config.limits.max_seq_len
        if "max_tokens" not in fields:
            return min(self._config.max_tokens, limit - prompt_tokens)
        max_tokens: int = fields["max_tokens"]
        if prompt_tokens + max_tokens > limit:
            raise InvalidRequestError(
                "max_tokens",
                f"{max_tokens} was given with a prompt of {prompt_tokens} tokens, and this model's maximum context "
                f"length is {limit} tokens for both; send at most {limit - prompt_tokens}",
            )
        return max_tokens

    def _budget(
        self, fields: Mapping[str, Any], max_tokens: int, thinking: bool, guided: bool
    ) -> ThinkingBudget | None:
        wanted: int | None = fields.get("max_thinking_tokens")
        if wanted is not None and not thinking:
            raise InvalidRequestError("max_thinking_tokens", f"thinking is off; {_remedy_for_no_thinking(fields)}")
        if not thinking:
            return None
        return resolve_budget(wanted, self._config.thinking, max_tokens, self._close_ids, needed=guided)


class LongLane:
    """A way for long prompts beside the others, so that short ones do not wait for them.

    Does pieces of work one after the other in a thread of its own. To tokenize 100,000 characters takes 30 ms and more,
    in which Python's interpreter lock is free.
    """

    def __init__(self, most: int) -> None:
        """Start the thread: later the machine may have none to give.

        Args:
            most: Pieces that may be here at once.
        """
        self._most = most
        self._here = 0
        self._lock = threading.Lock()  # guards that
        self._work = Work()
        self._thread = ThreadPoolExecutor(1, "nemotron-long-prompts")
        self._thread.submit(lambda: None)

    def submit(self, piece: Callable[[], None]) -> None:
        """Take a piece of work, which raises nothing, and return at once.

        Raises:
            UnavailableError: too many are here.
        """
        with self._lock:
            if self._here >= self._most:
                raise UnavailableError(
                    f"This server has {self._here} long prompts to read, which is its limit; try again later."
                )
            self._here += 1
        self._thread.submit(self._do, piece)

    def pulse(self) -> Pulse:
        """Whether it gets on."""
        return self._work.pulse()

    def close(self) -> None:
        """Wait for what is left and end the thread."""
        self._thread.shutdown()

    def _do(self, piece: Callable[[], None]) -> None:
        try:
            with self._work:
                piece()
        finally:
            with self._lock:
                self._here -= 1


def _prompt_to_return(fields: Mapping[str, Any], parts: list[PromptPart]) -> str:
    """The prompt, where `exclude_input_in_output` false asks for it; a stream never has it, as with NVIDIA's models.

    That is text_input as it was sent. For messages, and a complete prompt, it is what the model reads, without its
    control tokens: just what detokenizing gives back.
    """
    if value_of(fields, "stream") or value_of(fields, "exclude_input_in_output"):
        return ""
    if "messages" in fields or value_of(fields, "raw_prompt"):
        return "".join(map(shown, parts))
    text: str = fields["text_input"]
    return text


def _prompt_field(fields: Mapping[str, Any]) -> str:
    """The input that the prompt's length is due to, as far as can be told."""
    return "messages" if "messages" in fields else "text_input"


def _too_long(field: str, tokens: str, most: int) -> InvalidRequestError:
    # Clients of OpenAI's API look for these words: "this model's maximum context length is".
    return InvalidRequestError(
        field,
        f"the prompt has {tokens} tokens, and this model's maximum context length is {most + 1} tokens; shorten it",
    )


def _asked_thinking(fields: Mapping[str, Any], messages: list[Message]) -> bool | None:
    """What the request says about thinking; None for nothing."""
    return bool(fields["thinking"]) if "thinking" in fields else thinking_flag(messages)


def _begun_answer(fields: Mapping[str, Any], messages: list[Message], guided: bool) -> str | None:
    """The text that the answer goes on with, whose message is taken out; None where none has begun.

    Raises:
        InvalidRequestError: it does not go together with something else.
    """
    if not value_of(fields, "continue_final_message"):
        return None
    if "messages" not in fields:
        raise InvalidRequestError("continue_final_message", "there are no messages; raw_prompt continues a text_input")
    if fields.get("thinking", False):
        raise InvalidRequestError(
            "continue_final_message", "the answer has begun, so nothing is thought before it; leave out thinking"
        )
    if guided:
        raise InvalidRequestError(
            "continue_final_message",
            "it does not go with response_format or a required call, whose form says how the answer begins",
        )
    return messages.pop().text


def _remedy_for_no_thinking(fields: Mapping[str, Any]) -> str:
    if value_of(fields, "raw_prompt"):
        return f"end text_input with {OPEN_TAG}"
    if fields.get("thinking", False):
        return "the package's chat template always closes it, so leave max_thinking_tokens out"
    return "switch it on with 'thinking': true"


def _start(parts: list[PromptPart], thinking: bool) -> Start:
    if ends_with(parts, CLOSE_TAG):
        return "closed"
    if ends_with(parts, OPEN_TAG):
        return "thinking"
    return "expected" if thinking else "answer"
