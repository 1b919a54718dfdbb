"""docs/loadtest/reports.md names the fields that there are, and its examples run."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from nemotron_loadtest.capacity import CapacityPlan
from nemotron_loadtest.report import REPORT_SCHEMA_VERSION, Facts, Report, Sweep, SweepPoint
from nemotron_loadtest.report.document import State
from nemotron_loadtest.report.plot_data import ServerPoint, Shape, Spread
from nemotron_loadtest.server import ServerSample

PAGE = (Path(__file__).parents[4] / "docs/loadtest/reports.md").read_text()
TOLD = (Report, Facts, Spread, Shape, ServerPoint, Sweep, SweepPoint, CapacityPlan, ServerSample)


def fields(heading: str) -> Iterator[str]:
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    return (found[1] for found in re.finditer(r"^\| `(\w+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize("struct", TOLD, ids=lambda struct: str(struct.__name__))
def test_every_field_is_told_and_no_other(struct: type[msgspec.Struct]) -> None:
    assert sorted(fields(struct.__name__)) == sorted(struct.__struct_fields__)


def test_the_version_is_told() -> None:
    assert f"`schema_version` is {REPORT_SCHEMA_VERSION}." in PAGE


def test_every_state_is_told() -> None:
    assert re.findall(r"^\| ([A-Z ]+) \|", PAGE, re.MULTILINE) == list(typing.get_args(State))


def test_the_arithmetic_is_what_the_example_prints(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    program, output = next((one, after) for one, after in pairwise(blocks) if "plan_capacity" in one)
    exec(program, {})  # noqa: S102 - our own page

    assert capsys.readouterr().out == output
