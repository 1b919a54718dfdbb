"""How long a text is in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.workload.text import Count

BYTES_PER_TOKEN = 5.1
"""Of our sentences in Llama 3's tokenizer (tests/unit/loadtest/workload measures it)."""


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
