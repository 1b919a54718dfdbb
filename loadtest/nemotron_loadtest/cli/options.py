"""Options that several commands have, and how they say things."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import Scenario, ThinkingAs, at_servers, find_scenario, load_scenario

SLO_HELP = "what the run has to meet: a name that 'scenarios' lists, or a TOML file"
INTERRUPTED = 130
"""Exit status, as shells have it for ctrl-C."""


def say(text: str) -> None:
    """Write a text to standard output."""
    sys.stdout.write(f"{text}\n")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What every command has that runs a scenario."""
    parser.add_argument(
        "scenario", metavar="SCENARIO", type=find_scenario, help="TOML file, or a name that 'scenarios' lists"
    )
    parser.add_argument(
        "--package", metavar="DIR", type=Path, help="that is served: its tokenizer measures the prompts"
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        action="append",
        help="of the server (default: the scenario's, else NEMOTRON_URL); may be given several times. One that ends in "
        "/v1 is of any server with OpenAI's API",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="as a server with OpenAI's API calls it (default: the first that it lists)"
    )
    parser.add_argument(
        "--api-key-file",
        metavar="FILE",
        type=Path,
        help="with the key for such a server (default: NEMOTRON_API_KEY, else OPENAI_API_KEY, where they are set)",
    )
    parser.add_argument(
        "--thinking-as",
        choices=get_args(ThinkingAs),
        help="how such a server takes the switch of thinking (default: the scenario's, else chat_template_kwargs)",
    )
    parser.add_argument(
        "--metrics-url",
        metavar="URL",
        help="of the server's metrics (default: NEMOTRON_METRICS_URL, else that port of a server on this machine which "
        "has them, else port 8002)",
    )
    parser.add_argument("--slo", metavar="NAME", help=f"{SLO_HELP} (default: the scenario's)")
    parser.add_argument("--processes", metavar="N", type=whole(1), default=1, help="that send (default: 1)")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="new directory (default: one in results/)")


def scenario_of(given: argparse.Namespace) -> Scenario:
    """The scenario with the changes that the command line asks for.

    Raises:
        ScenarioError: it cannot be used.
    """
    scenario = load_scenario(given.scenario)
    if given.url:
        scenario = at_servers(scenario, tuple(given.url))
    openai = {"model": given.model, "thinking": given.thinking_as}
    if given.api_key_file:
        openai["api_key_file"] = str(given.api_key_file.absolute())
    try:
        scenario = msgspec.structs.replace(
            scenario,
            openai=msgspec.structs.replace(scenario.openai, **{name: one for name, one in openai.items() if one}),
            slo=given.slo or scenario.slo,
            package=str(given.package.absolute()) if given.package else scenario.package,
        )
    except ValueError as error:
        raise ScenarioError(f"{given.scenario}: {error}") from None
    if given.metrics_url and isinstance(scenario.url, tuple) and len(scenario.url) > 1:
        raise ScenarioError(
            f"--metrics-url names one page, but there are {len(scenario.url)} servers; "
            "without it each server's own page is looked for"
        )
    return scenario


def directory_of(given: argparse.Namespace) -> Path:
    """Where the results go."""
    if given.output is not None:
        return Path(given.output)
    return Path("results") / f"{given.scenario.stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} given, expected a whole number of at least {least}")
        return int(text)

    return parse


def above_zero(text: str) -> float:
    """Reads a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number above 0")
    return value
