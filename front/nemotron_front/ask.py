"""What a caller asks for, whichever API it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from nemotron_client import Options
from nemotron_front.fields import MOST_SEED
from nemotron_front.options import REASONING_NAMES


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, read and checked.

    Attributes:
        model: The model as it was asked for; answers say it back.
        options: What goes to the server.
        messages: The conversation, in the server's shape.
        prompts: Complete prompts, in place of messages.
        n: Answers wanted, of each prompt.
        stream: Whether the answer is to come while it is written.
        include_usage: Whether the stream ends with the token counts.
        continuous_usage: Whether every chunk has those so far.
        thinking: Whether the caller gets the thinking apart from the answer, within it between its tags, or not at all.
        reasoning_names: The fields that have it where it is apart.
        first_call_only: Whether the answer ends with its first tool call.
        names: What the caller calls what errors of the server name, where that differs; see `ApiError.renamed`.
        said: Fields of the request that the answer says back.
    """

    model: str
    options: Options
    messages: list[dict[str, Any]] | None = None
    prompts: tuple[str, ...] = ()
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    thinking: Literal["apart", "within", "hidden"] = "apart"
    reasoning_names: tuple[str, ...] = REASONING_NAMES
    first_call_only: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def choices(self) -> int:
        """Answers wanted in all. Those of the same prompt follow each other."""
        return self.n * (len(self.prompts) or 1)

    def names_of(self, choice: int) -> Mapping[str, str]:
        """`names` for one of the answers: of several prompts, which one it is to."""
        if len(self.prompts) < 2:
            return self.names
        return {**self.names, "text_input": f"prompt[{choice // self.n}]"}

    def options_of(self, choice: int) -> Options:
        """What goes to the server for one of the answers: with a seed, each of the same prompt has its own."""
        seed, number = self.options.get("seed"), choice % self.n
        if seed is None or number == 0:
            return self.options
        return cast(Options, {**self.options, "seed": (seed + number) & MOST_SEED})
