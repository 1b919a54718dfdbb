"""Scenario files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario.known import expected_at
from nemotron_loadtest.scenario.lines import line_of
from nemotron_loadtest.scenario.scenario import Scenario
from nemotron_loadtest.toml_files import read_toml
from nemotron_loadtest.workload.kinds import Lines

_PLACE = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?")
_OF_THE_OBJECT = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`|(?P<own>[\w.]+) is .*")


def load_scenario(path: Path) -> Scenario:
    """Read a scenario. Paths in it become absolute.

    Raises:
        ScenarioError: no such file, no TOML, or a field that does not exist or has an impossible value: it is named
            with its line.
    """
    text, content = read_toml(path, "a scenario", otherwise="a name that 'nemotron-bench scenarios' lists")
    try:
        scenario = msgspec.convert(content, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(_message(path, text, content, str(error))) from None
    return _with_absolute_paths(scenario, path.absolute().parent)


def _message(path: Path, text: str, content: dict[str, Any], error: str) -> str:
    place = _PLACE.fullmatch(error)
    assert place is not None  # noqa: S101 - the expression takes everything
    what, field = place["what"], (place["path"] or "$").removeprefix("$").lstrip(".")
    inner = _OF_THE_OBJECT.fullmatch(what)
    named = inner and (inner["field"] or inner["own"])
    line = line_of(text, f"{field}.{named}".lstrip(".") if named else field) or line_of(text, field)
    where = f"{path}, line {line}" if line else str(path)
    if what.startswith(("Object contains", "Object missing", "Invalid value")) and (
        known := expected_at(field, content)
    ):
        what = f"{what}, {known}"
    return f"{where}: {field}: {what}" if field else f"{where}: {what}"


def _with_absolute_paths(scenario: Scenario, directory: Path) -> Scenario:
    replace = msgspec.structs.replace
    if scenario.package is not None:
        scenario = replace(scenario, package=str(directory / scenario.package))
    if scenario.slo is not None and scenario.slo.endswith(".toml"):
        scenario = replace(scenario, slo=str(directory / scenario.slo))
    if scenario.trace is not None:
        scenario = replace(scenario, trace=replace(scenario.trace, path=str(directory / scenario.trace.path)))
    if isinstance(scenario.workload, Lines):
        workload = replace(scenario.workload, path=str(directory / scenario.workload.path))
        scenario = replace(scenario, workload=workload)
    return scenario
