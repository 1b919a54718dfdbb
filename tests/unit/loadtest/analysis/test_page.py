"""The page for readers of reports says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from nemotron_loadtest.analysis import (
    BUILT_IN,
    PERCENTILES,
    Capacity,
    ClauseResult,
    Comparison,
    Difference,
    Distribution,
    Group,
    Saturation,
    Slice,
    Steadiness,
    Summary,
    Trend,
    Trial,
    Verdict,
    load_slo,
    samples_for_trust,
    samples_needed,
)
from nemotron_loadtest.metrics import Goodput, Outcomes

PAGE = (Path(__file__).parents[4] / "docs/loadtest/metrics.md").read_text(encoding="utf-8")
STRUCTURES = [
    Capacity, ClauseResult, Comparison, Difference, Distribution, Goodput, Group, Outcomes, Saturation, Slice,
    Steadiness, Summary, Trend, Trial, Verdict,
]  # fmt: skip


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_field_is_on_the_page(structure: type[msgspec.Struct]) -> None:
    missing = [name for name in structure.__struct_encode_fields__ if f"`{name}`" not in PAGE]
    assert missing == []


def test_the_slo_file_works(tmp_path: Path) -> None:
    blocks: list[str] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "chat.toml"
    path.write_text("\n".join(blocks))
    assert load_slo(path).clauses[0].thinking == "on"


def test_the_limits_are_those_of_the_classes() -> None:
    for name, slo in BUILT_IN.items():
        ttft, tpot = slo.clauses
        errors, delay = f"{100 * slo.max_error_rate:g} %", f"{slo.max_schedule_delay_ms:g} ms"
        limits = f"{ttft.limit:,g} ms | {tpot.limit:,g} ms | {errors} | {delay}"
        assert f"| `{name}` | {limits} |" in PAGE


def test_the_numbers_of_values_are_those_of_the_code() -> None:
    for title, numbers in (("needed", samples_needed), ("for trust", samples_for_trust)):
        assert f"| values {title} | {' | '.join(f'{numbers(name):,}' for name in PERCENTILES)} |" in PAGE
