"""The list that reports go by."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from nemotron_loadtest import metrics
from nemotron_loadtest.metrics import DISTRIBUTIONS, LATENCIES, METRICS, RATIOS, Metric

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
    modules = [import_module(f"{metrics.__name__}.{found.name}") for found in iter_modules(metrics.__path__)]
    defined = {value.name for module in modules for value in vars(module).values() if isinstance(value, Metric)}
    assert sorted(defined) == sorted(METRICS)
