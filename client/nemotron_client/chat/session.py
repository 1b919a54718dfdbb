"""The state of a chat: settings, messages, and what the answers took. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nemotron_client._types import ModelInfo, Reply, ToolCall

Message = dict[str, Any]


class ChatError(Exception):
    """Something that the user can put right; the message is one line."""


@dataclass
class Settings:
    """What each question is asked with.

    Attributes:
        thinking: Whether it thinks; None leaves it to the system text and the package.
        budget: Tokens after which the thinking is closed; it counts only while `thinking` is on.
        system: The system text; empty for none.
        temperature: 0 is greedy; None is the package's default.
        max_tokens: The most tokens of all output, thinking included; None is the package's default.
        tools: Functions that the model may call, in OpenAI's shape.
    """

    thinking: bool | None = None
    budget: int | None = None
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        """The options of `Client.stream_chat`."""
        return {
            "thinking": self.thinking,
            "max_thinking_tokens": self.budget if self.thinking else None,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "tools": self.tools or None,
        }

    def describe(self, model: ModelInfo | None = None) -> str:
        """One line for the user; with the model, what its default is."""
        thinking = {None: "thinking by the server's default", True: "thinking on", False: "thinking off"}[self.thinking]
        if self.thinking is None and model is not None:
            thinking += f" ({'on' if model.thinking else 'off'})"
        parts = [thinking]
        if self.thinking and self.budget is not None:
            parts.append(f"budget {self.budget} tokens")
        if self.temperature is not None:
            parts.append(f"temperature {self.temperature:g}")
        if self.max_tokens is not None:
            parts.append(f"at most {self.max_tokens} tokens")
        if self.tools:
            parts.append("tools " + ", ".join(tool["function"]["name"] for tool in self.tools))
        if self.system:
            parts.append(f"system text of {len(self.system)} characters")
        return ", ".join(parts)


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        content: The answer, as far as it came.
        reasoning: The thinking, as far as it came.
        tool_calls: The functions to call, as far as they came.
        reply: The library's reply; None where the answer was cut off before its end.
    """

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...] = ()
    reply: Reply | None = None

    @property
    def complete(self) -> bool:
        """Whether it was not cancelled."""
        return self.reply is not None and self.reply.finish_reason != "cancelled"


@dataclass
class Totals:
    """What the answers of a chat took."""

    answers: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Count one more."""
        self.answers += 1
        self.prompt_tokens += reply.usage.prompt_tokens
        self.output_tokens += reply.usage.output_tokens
        self.reasoning_tokens += reply.usage.reasoning_tokens


class Session:
    """A chat.

    Attributes:
        settings: What the next question is asked with.
        messages: The conversation in OpenAI's shape, without the system text. May end in a question that has no
            answer: `/retry` asks it again, another question takes its place.
        last: The last answer.
        totals: Counts of all answers, also of those that `retry`, `undo` and `clear` have removed.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.messages: list[Message] = []
        self.last: Answer | None = None
        self.totals = Totals()

    @property
    def unanswered(self) -> bool:
        """Whether the messages end in a question, a tool's result, or a call without a result."""
        return bool(self.messages) and (self.messages[-1]["role"] != "assistant" or bool(self.open_calls()))

    def conversation(self) -> list[Message]:
        """What is sent: the system text first, the thinking of earlier answers left out."""
        system = [{"role": "system", "content": self.settings.system}] if self.settings.system else []
        return [
            *system,
            *({key: value for key, value in one.items() if key != "reasoning_content"} for one in self.messages),
        ]

    def ask(self, text: str) -> None:
        """Add a question. One that has no answer is dropped."""
        if self.unanswered:
            self.undo()
        self.messages.append({"role": "user", "content": text})

    def answered(self, answer: Answer) -> None:
        """Add an answer. Of one that was cancelled, what was said so far; nothing if that is nothing."""
        self.last = answer
        if answer.reply is not None:
            self.totals.add(answer.reply)
        calls = [call.as_message_part() for call in answer.tool_calls] if answer.complete else []
        if not answer.content and not calls and not answer.complete:
            return
        message: Message = {"role": "assistant", "content": answer.content}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if calls:
            message["tool_calls"] = calls
        self.messages.append(message)

    def open_calls(self) -> list[Message]:
        """The calls of the last answer that have no result yet."""
        done: set[str] = set()
        for message in reversed(self.messages):
            if message["role"] == "tool":
                done.add(message.get("tool_call_id", ""))
            else:
                return [call for call in message.get("tool_calls") or [] if call.get("id") not in done]
        return []

    def tool_result(self, call_id: str, text: str) -> None:
        """Add the result of a call."""
        self.messages.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def retry(self) -> None:
        """Take the last answer back, if there is one, so that its question is asked again.

        Raises:
            ChatError: nothing was asked.
        """
        if self.unanswered and not self.open_calls():
            return
        del self.messages[self._last_question() + 1 :]

    def undo(self) -> str:
        """Take the last question back, with what followed it; returns it.

        Raises:
            ChatError: nothing was asked.
        """
        at = self._last_question()
        question = self.messages[at]["content"]
        del self.messages[at:]
        self.last = None
        return str(question)

    def clear(self) -> None:
        """Begin anew, with the same settings."""
        self.messages.clear()
        self.last = None

    def _last_question(self) -> int:
        for at in range(len(self.messages) - 1, -1, -1):
            if self.messages[at]["role"] == "user":
                return at
        raise ChatError("Nothing was asked yet.")


def finish_note(finish_reason: str) -> str:
    """What to tell of an answer that did not end by itself; empty for one that did."""
    return _NOTES.get(finish_reason, "")


_NOTES = {
    "cancelled": "cancelled",
    "length": "cut off at the limit of its tokens",
    "repetition": "ended because it repeated itself",
    "timeout": "cut off at the server's deadline",
}
