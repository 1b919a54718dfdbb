"""The list that reports go by."""

from __future__ import annotations

import ast
from pathlib import Path

from nemotron_loadtest.metrics import DISTRIBUTIONS, LATENCIES, METRICS, RATIOS

ROOT = Path(__file__).parents[4]
UNITS = {"ms", "tokens", "tokens/s", "requests/s", "requests", "share"}


def test_names_are_told_once() -> None:
    assert len(METRICS) == len(DISTRIBUTIONS) + len(LATENCIES) + len(RATIOS)
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_names_carry_their_units() -> None:
    for metric in METRICS.values():
        assert metric.unit in UNITS
        assert metric.name.endswith("_ms") == (metric.unit == "ms")
        assert metric.name.endswith("_per_s") == metric.unit.endswith("/s")
        assert metric.name.endswith("_share") == (metric.unit == "share")


def test_the_page_for_readers_has_every_metric() -> None:
    page = (ROOT / "docs/loadtest/metrics.md").read_text(encoding="utf-8")
    missing = [metric.name for metric in METRICS.values() if f"`{metric.name}`" not in page]
    assert missing == []


def test_no_metric_stays_unlisted() -> None:
    folder = ROOT / "loadtest/nemotron_loadtest/metrics"
    kinds = {"Latency", "PerRequest", "Gaps", "Ratio"}
    found = [
        keyword.value.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    ]
    assert sorted(str(name) for name in found) == sorted(METRICS)
