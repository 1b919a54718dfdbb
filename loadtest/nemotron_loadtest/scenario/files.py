"""Scenario files: read one, name what is wrong in it, and find those that ship.

`load_scenario(find_scenario("quick"))`
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario.scenario import Scenario, at_servers
from nemotron_loadtest.scenario.workload import Lines

_DIRECTORY = Path(__file__).parents[1] / "scenarios"
_PLACE = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?")
_OF_THE_OBJECT = re.compile(r"Object (?:contains unknown|missing required) field `(?P<field>.*)`|(?P<own>[\w.]+) is .*")
_HEADER = re.compile(r"\s*\[+\s*(?P<name>[^\[\]]+?)\s*\]+\s*(?:#.*)?")
_KEY = re.compile(r"""\s*(?P<name>[\w.\s"'-]+?)\s*=""")
_INDEX = re.compile(r"\[[^\]]*\]")


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


def shipped_scenarios() -> list[Path]:
    """Their files, by name."""
    return sorted(_DIRECTORY.glob("*.toml"))


def find_scenario(name_or_path: str) -> Path:
    """The file of a scenario that is given by its path, or by its name if it is one that ships.

    A file that is there comes before a name. What is neither is taken for a path, for `load_scenario` to refuse.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = next((one for one in shipped_scenarios() if one.stem == name_or_path), path)
    return path


def read_toml(path: Path, what: str, *, otherwise: str) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file (a scenario or an SLO), and what stands in it.

    Args:
        path: The file.
        what: It is to be, for the errors.
        otherwise: What may be named in the place of a file, for the errors.

    Raises:
        ScenarioError: no such file, or it is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}, expected {what} in TOML, or {otherwise}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: it is not UTF-8 text, expected {what} in TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: it is not TOML: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: it is nested too deeply, expected {what} in TOML") from None


def _message(path: Path, text: str, content: dict[str, Any], error: str) -> str:
    place = _PLACE.fullmatch(error)
    assert place is not None  # noqa: S101 - the expression takes everything
    what, field = place["what"], (place["path"] or "$").removeprefix("$").lstrip(".")
    inner = _OF_THE_OBJECT.fullmatch(what)
    named = inner and (inner["field"] or inner["own"])
    line = _line_of(text, f"{field}.{named}".lstrip(".") if named else field) or _line_of(text, field)
    where = f"{path}, line {line}" if line else str(path)
    if what.startswith(("Object contains", "Object missing", "Invalid value")) and (
        known := _expected_at(field, content)
    ):
        what = f"{what}, {known}"
    return f"{where}: {field}: {what}" if field else f"{where}: {what}"


def _with_absolute_paths(scenario: Scenario, directory: Path) -> Scenario:
    replace = msgspec.structs.replace
    if scenario.url is not None:
        scenario = at_servers(scenario, (scenario.url,) if isinstance(scenario.url, str) else scenario.url)
    if scenario.openai.api_key_file is not None:
        key_file = str(directory / scenario.openai.api_key_file)
        scenario = replace(scenario, openai=replace(scenario.openai, api_key_file=key_file))
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


def _expected_at(field: str, content: dict[str, Any]) -> str:
    """What a table may hold, or which kinds of it there are.

    Args:
        field: The table or its `kind`, like `arrivals` or `arrivals.kind`; empty for the scenario itself.
        content: The scenario as TOML has it.

    Returns:
        Empty where it is neither.
    """
    structs: list[inspect.StructType] = [_struct(inspect.type_info(Scenario))]
    for name in [name for name in field.split(".") if name not in ("", "kind")]:
        content = content.get(name, {}) if isinstance(content, dict) else {}
        found = [one for struct in structs for one in struct.fields if one.encode_name == name]
        structs = [struct for one in found for struct in _structs(one.type)]
        chosen = [struct for struct in structs if isinstance(content, dict) and struct.tag == content.get("kind")]
        structs = chosen or structs
    if len(structs) == 1:
        names = ["kind"] if structs[0].tag else []
        return f"expected one of {', '.join([*names, *(one.encode_name for one in structs[0].fields)])}"
    return f"expected the kind {', '.join(str(struct.tag) for struct in structs)}" if structs else ""


def _structs(of: inspect.Type) -> list[inspect.StructType]:
    types = of.types if isinstance(of, inspect.UnionType) else (of,)
    return [one for one in types if isinstance(one, inspect.StructType)]


def _struct(of: inspect.Type) -> inspect.StructType:
    assert isinstance(of, inspect.StructType)  # noqa: S101 - asked of a struct
    return of


def _line_of(text: str, field: str) -> int | None:
    """The number of the line, from 1, on which a field or the table around it is set.

    Args:
        text: The file, valid TOML.
        field: Like `arrivals.rate`.

    Returns:
        None where nothing of it is written down.
    """
    wanted = _INDEX.sub("", field).split(".")
    table: list[str] = []
    best, found = 0, None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            table = _names(header["name"])
            here = table
        elif key := _KEY.match(line):
            here = table + _names(key["name"])
        else:
            continue
        if best < len(here) <= len(wanted) and here == wanted[: len(here)]:
            best, found = len(here), number
    return found


def _names(dotted: str) -> list[str]:
    return [name.strip(" \t\"'") for name in dotted.split(".")]
