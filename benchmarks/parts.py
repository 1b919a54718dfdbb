"""A benchmark's parts: measured one after the other, written as JSON, and printed as a table."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Aims = Mapping[str, Mapping[str, tuple[str, float]]]
"""Figure → where it was measured, "" if it has one value → `≥` or `≤` and the aim."""


_console = Console(stderr=True)


def add_options(parser: argparse.ArgumentParser, parts: Collection[str], output: Path) -> None:
    """`--only` and `--output`, which all benchmarks have."""
    parser.add_argument("--only", choices=[*parts], nargs="+", default=[*parts], help="parts to measure, default: all")
    parser.add_argument("--output", type=Path, default=output, help="default: %(default)s")


def measure(options: argparse.Namespace, parts: Mapping[str, Callable[[], dict[str, Any]]], aims: Aims) -> None:
    """Measure what `--only` names, write it to `--output`, and print it beside the aims.

    Args:
        options: As `add_options` reads them.
        parts: Name → what measures its figures.
        aims: What the figures are to reach.
    """
    began = time.perf_counter()
    results: dict[str, Any] = {"machine": {"cpus": os.cpu_count(), "date": time.strftime("%Y-%m-%d")}}
    for name in options.only:
        _console.print(f"[bold]{name}[/] …")
        results |= parts[name]()
        # After every part, so that a later one that fails loses nothing.
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=2) + "\n")
    _print_table(results, aims)
    _console.print(f"Written to {options.output} after {time.perf_counter() - began:.0f} s")


def _print_table(results: Mapping[str, Any], aims: Aims) -> None:
    """All figures but the machine's, with their aims."""
    table = Table("figure", "at", "measured", "aim", "")
    for (name, *at), measured in _rows({key: value for key, value in results.items() if key != "machine"}):
        aim = aims.get(name, {}).get(" ".join(at))
        met = aim is None or (measured >= aim[1] if aim[0] == "≥" else measured <= aim[1])
        verdict = "" if aim is None else "[green]met[/]" if met else "[red]missed[/]"
        shown = f"{measured:.3g}" if abs(measured) < 1000 else f"{measured:,.0f}"
        table.add_row(name, " ".join(at), shown, f"{aim[0]} {aim[1]:g}" if aim else "", verdict)
    Console().print(table)


def _rows(value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from (((key, *path), measured) for path, measured in _rows(inner))
        else:
            yield (key,), inner
