"""Ask the card's benchmarks of an endpoint with OpenAI's API, and score the answers."""

from __future__ import annotations

import argparse

from nemotron_evals.card import CARD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `nemotron-eval run`."""
    parser.add_argument("url", metavar="URL", help="of the endpoint, such as http://gpu-1:9000/v1")
    parser.add_argument("--tasks", metavar="NAMES", help=f"of {','.join(one.name for one in CARD)} (default: all)")


def main(options: argparse.Namespace) -> int:
    """Run it."""
    raise NotImplementedError(options.url)
