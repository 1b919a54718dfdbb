"""The page on scenarios says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from nemotron_loadtest.scenario import Arrivals, Cancel, OpenAI, Scenario, Workload, load_scenario, shipped_scenarios
from nemotron_loadtest.scenario.workload import Made, Sized, Synthetic

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "loadtest" / "scenarios.md").read_text()
KINDS = [*get_args(Arrivals), *get_args(Workload)]
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| .* \|$", re.MULTILINE)


def own_fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Fields of a struct that a table of its own has to name, with their defaults."""
    inherited = {
        field.name: field.default
        for parent in kind.__mro__[1:]
        if issubclass(parent, msgspec.Struct) and parent is not msgspec.Struct
        for field in msgspec.structs.fields(parent)
    }
    fields = {field.name: field.default for field in msgspec.structs.fields(kind)}
    return {name: default for name, default in fields.items() if inherited.get(name, kind) != default}


def documented(text: str) -> dict[str, str]:
    return dict(ROW.findall(text))


def section(title: str) -> str:
    found = re.search(rf"^(##+) {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[2]


def check(fields: dict[str, Any], rows: dict[str, str]) -> None:
    assert list(rows) == list(fields)
    for name, default in fields.items():
        shown = rows[name]
        if default is msgspec.NODEFAULT:
            assert shown == "required", name
        elif isinstance(default, bool):
            assert shown == str(default).lower(), name
        elif isinstance(default, (int, float)):
            assert float(shown) == default, name
        elif isinstance(default, str):
            assert shown == f'`"{default}"`', name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_every_kind_is_there_with_its_default(kind: type[msgspec.Struct]) -> None:
    tag = kind.__struct_config__.tag
    titles = re.findall(rf'^### (kind = "{tag}")\n(.*?)(?=^##|\Z)', PAGE, re.MULTILINE | re.DOTALL)
    texts = [text for _, text in titles if set(documented(text)) == set(own_fields(kind))]
    assert texts, f"{kind.__name__}: {list(own_fields(kind))} in {[documented(text) for _, text in titles]}"
    rows = documented(texts[0])
    check({name: own_fields(kind)[name] for name in rows}, rows)


@pytest.mark.parametrize(
    ("title", "kind"), [("The scenario", Scenario), ("Users who leave", Cancel), ("OpenAI's API", OpenAI)]
)
def test_every_field_of_a_table_is_there_with_its_default(title: str, kind: type[msgspec.Struct]) -> None:
    check({field.name: field.default for field in msgspec.structs.fields(kind)}, documented(section(title)))


def test_what_all_workloads_have_is_there() -> None:
    common = {field.name for field in msgspec.structs.fields(Synthetic)} - {"input_tokens"}
    assert set(documented(section("Workload"))) == common
    assert {*own_fields(Made), *own_fields(Sized)} < common


@pytest.mark.parametrize("text", re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_the_examples_are_scenarios(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(text)
    load_scenario(path)


def test_every_shipped_file_is_in_the_list() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.split("## The scenario")[0], re.MULTILINE)
    listed = set(re.findall(r"`(.*?)`", " ".join(rows)))
    assert listed == {path.stem for path in shipped_scenarios()}
