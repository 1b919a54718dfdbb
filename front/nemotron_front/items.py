"""The items that a response is made of: thinking, text and calls in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from nemotron_client import ContentDelta, Event, LogprobsDelta, ReasoningDelta, ToolCall, ToolCallDelta


class Output:
    """The items of an answer, as its events make them.

    Attributes:
        items: Those that have begun.
    """

    def __init__(self, request_id: str, *, shows_thinking: bool) -> None:
        self.items: list[Item] = []
        self._id = request_id
        self._shows_thinking = shows_thinking
        self._logprobs = _Logprobs()

    def add(self, event: Event) -> dict[str, Any] | None:
        """Take an event. Returns what it adds to the last item; None where that is nothing."""
        match event:
            case LogprobsDelta(entries):
                self._logprobs.add(entries)
            case ReasoningDelta(text):
                self._logprobs.thought()
                return self._text("reasoning").more(text, []) if self._shows_thinking else None
            case ContentDelta(text):
                return self._text("message").more(text, self._logprobs.taken(text))
            case ToolCallDelta(call):
                self._logprobs.taken("")
                self.items.append(Call(call, len(self.items), self._id))
                return {"delta": call.arguments}
        return None

    def end(self, status: str) -> Item | None:
        """There are no more events. Returns the message without text that an answer without items is."""
        return self._text("message") if status == "completed" and not self.items else None

    def json(self, status: str) -> list[dict[str, Any]]:
        """The items; the status is that of the last one, before which all are whole."""
        last = len(self.items) - 1
        return [item.json(status if number == last else "completed") for number, item in enumerate(self.items)]

    def _text(self, kind: str) -> Text:
        """The item that new text belongs to."""
        last = self.items[-1] if self.items else None
        if isinstance(last, Text) and last.kind == kind:
            return last
        self.items.append(text := Text(kind, len(self.items), self._id))
        return text


_TEXT_NAMES = {"reasoning": "reasoning_text", "message": "output_text"}
_IDS = {"reasoning": "rs", "message": "msg"}


class Text:
    """An item of text.

    Attributes:
        kind: `reasoning` or `message`.
        text_name: What events call its text.
        place: Where its only part stands.
    """

    def __init__(self, kind: str, index: int, request_id: str) -> None:
        self.kind = kind
        self.text_name = _TEXT_NAMES[kind]
        self.place = {"item_id": f"{_IDS[kind]}_{index}_{request_id}", "output_index": index, "content_index": 0}
        self._texts: list[str] = []
        self._logprobs: list[Mapping[str, Any]] = []

    def more(self, text: str, logprobs: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Take new text, and say what an event says of it."""
        self._texts.append(text)
        if self.kind == "reasoning":
            return {"delta": text}
        self._logprobs += logprobs
        return {"delta": text, "logprobs": logprobs}

    def whole(self, *, empty: bool = False) -> dict[str, Any]:
        """All of its text; none of it in events that come before the text."""
        text = {"text": "" if empty else "".join(self._texts)}
        return text if self.kind == "reasoning" else {**text, "logprobs": [] if empty else self._logprobs}

    def part(self, *, empty: bool = False) -> dict[str, Any]:
        """Its only part."""
        annotations: dict[str, Any] = {} if self.kind == "reasoning" else {"annotations": []}
        return {"type": self.text_name, **self.whole(empty=empty), **annotations}

    def json(self, status: str, *, empty: bool = False) -> dict[str, Any]:
        """The item."""
        role: dict[str, Any] = {"summary": []} if self.kind == "reasoning" else {"role": "assistant"}
        content = [] if empty else [self.part()]
        return {"type": self.kind, "id": self.place["item_id"], **role, "status": status, "content": content}


class Call:
    """An item of a tool call, all of which comes at once.

    Attributes:
        text_name: What events call its arguments.
        place: Where it stands.
    """

    text_name = "function_call_arguments"

    def __init__(self, call: ToolCall, index: int, request_id: str) -> None:
        self.place = {"item_id": f"fc_{index}_{request_id}", "output_index": index}
        self._call = call

    def whole(self) -> dict[str, Any]:
        """What is called."""
        return {"name": self._call.name, "arguments": self._call.arguments}

    def json(self, status: str, *, empty: bool = False) -> dict[str, Any]:  # noqa: ARG002 - it is whole, or empty
        """The item."""
        item = {"type": "function_call", "id": self.place["item_id"], "call_id": self._call.id, **self.whole()}
        return {**item, "arguments": "", "status": "in_progress"} if empty else {**item, "status": "completed"}


Item = Text | Call


class _Logprobs:
    """Log probabilities that wait for their text. A response has those of its answer alone."""

    def __init__(self) -> None:
        self._entries: list[Mapping[str, Any]] = []
        self._newest: Sequence[Mapping[str, Any]] = ()
        self._thought = False

    def add(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """More tokens, whose text comes next."""
        self._entries += entries
        self._newest = entries

    def thought(self) -> None:
        """Text of the thinking has come. Only the newest tokens can be of the answer."""
        self._entries = list(self._newest)
        self._thought = True

    def taken(self, text: str) -> list[Mapping[str, Any]]:
        """Those of new text of the answer; behind thinking without the tokens before it, such as the closing tag."""
        entries, self._entries, self._newest = self._entries, [], ()
        if not self._thought:
            return entries
        self._thought = False
        tokens = [bytes(entry["bytes"]) for entry in entries]
        begin = max(b"".join(tokens).rfind(text.encode()), 0)
        ends = accumulate(len(token) for token in tokens)
        return [entry for entry, end in zip(entries, ends, strict=True) if end > begin]
