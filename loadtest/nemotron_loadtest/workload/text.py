"""Texts of a given length in tokens, and what measures it.

A pool of sentences is measured once, each in the place it will have: after another sentence. A text is then put
together without the tokenizer, which would take longer than the load test has: tokenizers split at spaces before they
merge, so the tokens of the parts add up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.workload.material import FILLERS, sentences

Count = Callable[[str], float]
"""Tokens of a text. An estimate may give parts of a token."""

_BEFORE = "This is the text."


class TextMaker:
    """Makes texts to measure.

    Args:
        count: Tokens of a text, without what the chat format puts around it.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._cost_before = count(_BEFORE)
        measured = sorted(((self.cost(f" {sentence}"), sentence) for sentence in sentences()), key=lambda item: item[0])
        self._costs = [cost for cost, _ in measured]
        self._sentences = [sentence for _, sentence in measured]
        self._first_costs = [count(sentence) for sentence in self._sentences]
        self._fillers = sorted(((self.cost(f" {word}"), word) for word in FILLERS), reverse=True)

    def cost(self, text: str) -> float:
        """Tokens that a text adds where it follows a sentence."""
        return self._count(_BEFORE + text) - self._cost_before

    def text(self, tokens: float, random: Random, *, ending: str = "") -> str:
        """A text of so many tokens, to 2 more or less.

        Args:
            tokens: With the ending; an ending of more is the whole text.
            random: The same state gives the same text.
            ending: Comes last, on a line of its own.
        """
        if not ending:
            return self.part(tokens, random, first=True)[0]
        ending = f"\n{ending}"
        body, _ = self.part(tokens - self.cost(ending), random, first=True)
        return body + ending if body else ending.lstrip("\n")

    def part(self, tokens: float, random: Random, *, first: bool) -> tuple[str, float]:
        """A part of a text, and its tokens, which are at most those asked for.

        Args:
            tokens: How many.
            random: The same state gives the same part.
            first: The text begins with it; else it follows another part after a space.
        """
        words: list[str] = []
        left = tokens
        while fitting := bisect_right(self._costs, left):
            chosen = int(random.random() * fitting)
            left -= self._costs[chosen] if words or not first else self._first_costs[chosen]
            words.append(self._sentences[chosen])
        for cost, word in self._fillers:
            while cost <= left:
                left -= cost
                words.append(word)
        return " ".join(words), tokens - left


BYTES_PER_TOKEN = 5.1
"""Mean length of a token of our sentences in Llama 3's tokenizer (tests/unit/loadtest/workload measures it)."""


@dataclass(frozen=True)
class Measure:
    """A way to count tokens.

    Attributes:
        count: Tokens of a text.
        description: For the report: what counts.
    """

    count: Count
    description: str


def measure_of(package: str | None) -> Measure:
    """A package's tokenizer, or without one an estimate.

    Raises:
        ScenarioError: there is no tokenizer in the package.
    """
    if package is None:
        estimate = f"estimated at {BYTES_PER_TOKEN:g} bytes a token; `package` names one whose tokenizer measures"
        return Measure(lambda text: len(text.encode()) / BYTES_PER_TOKEN, estimate)
    return Measure(_tokenizer_count(Path(package) / "tokenizer.json"), f"tokenizer of {package}")


def _tokenizer_count(path: Path) -> Count:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ScenarioError(f"{path}: there is no such file; package names the directory of the package that is served")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ScenarioError(f"{path} is no tokenizer: {error}. Build the package again.") from None
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
