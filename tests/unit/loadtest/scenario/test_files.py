"""Scenario files: those that ship, and what is said of wrong ones."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nemotron_loadtest
from nemotron_loadtest.arrivals import rate_of, schedule, user_starts
from nemotron_loadtest.cli import main
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import (
    Cancel,
    Chat,
    ClosedLoop,
    Lines,
    Poisson,
    Scenario,
    Synthetic,
    TraceLengths,
    TraceReplay,
    find_scenario,
    load_scenario,
    shipped_scenarios,
)
from nemotron_loadtest.workload import open_workload

SHIPPED = shipped_scenarios()


def loaded(directory: Path, text: str) -> Scenario:
    path = directory / "scenario.toml"
    path.write_text(text)
    return load_scenario(path)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    marked = tmp_path / "marked.toml"
    marked.write_text(SHIPPED[0].read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert load_scenario(marked).workload == load_scenario(SHIPPED[0]).workload


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_scenario_that_ships_can_be_run(path: Path) -> None:
    scenario = load_scenario(path)
    source = open_workload(scenario)
    for conversation in itertools.islice(source.conversations(), 10):
        spec = conversation.next_request()
        assert spec is not None
        assert spec.messages[-1]["content"]
    if isinstance(scenario.arrivals, ClosedLoop):
        assert list(user_starts(scenario.arrivals))
    else:
        trace = scenario.trace
        assert (
            5 < sum(1 for _ in schedule(scenario.arrivals, duration_s=scenario.duration_s, seed=1, trace=trace)) < 1000
        )


def test_there_is_an_example_of_every_kind() -> None:
    scenarios = [load_scenario(path) for path in SHIPPED]
    arrivals = {msgspec.to_builtins(scenario.arrivals)["kind"] for scenario in scenarios}
    workloads = {msgspec.to_builtins(scenario.workload)["kind"] for scenario in scenarios}
    assert arrivals == {"closed", "constant", "poisson", "ramp", "staircase", "spike", "trace"}
    assert workloads == {"synthetic", "chat", "rag", "tools", "file", "trace"}
    assert all(scenario.description for scenario in scenarios)


def test_the_quick_one_takes_less_than_a_minute() -> None:
    quick = load_scenario(next(path for path in SHIPPED if path.stem == "quick"))
    assert quick.duration_s + quick.drain_s < 60
    assert isinstance(quick.arrivals, Poisson)


def test_an_empty_file_has_all_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == Scenario()


def test_tables_become_the_kind_that_they_name(tmp_path: Path) -> None:
    scenario = loaded(
        tmp_path,
        'url = ["grpc://a:1", "grpc://b:1"]\n[arrivals]\nkind = "poisson"\nrate = 3\n'
        '[workload]\nkind = "chat"\nturns = 2\n[cancel]\nshare = 0.5\n',
    )
    assert scenario.url == ("grpc://a:1", "grpc://b:1")
    assert scenario.arrivals == Poisson(rate=3)
    assert scenario.workload == Chat(turns=2)
    assert scenario.cancel == Cancel(share=0.5)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = 'package = "../p"\nslo = "own.toml"\n[workload]\nkind = "file"\npath = "a.jsonl"\n[trace]\npath = "/t.csv"\n'
    scenario = loaded(tmp_path, text)
    assert scenario.package == str(tmp_path / "../p")
    assert scenario.slo == str(tmp_path / "own.toml")
    assert isinstance(scenario.workload, Lines)
    assert scenario.workload.path == str(tmp_path / "a.jsonl")
    assert scenario.trace is not None
    assert scenario.trace.path == "/t.csv"
    assert loaded(tmp_path, 'slo = "interactive"').slo == "interactive"


def test_a_scenario_travels_as_json() -> None:
    for path in SHIPPED:
        scenario = load_scenario(path)
        assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("duration = 5", "line 1: Object contains unknown field `duration`, expected one of description, url, user, "),
        ("seed = 1\n\nduration_s = 0", "line 3: duration_s: Expected `float` > 0.0"),
        ("duration_s = nan", "line 1: duration_s: Expected `float` > 0.0"),
        ("duration_s = inf", "line 1: duration_s: Expected `float` <= 604800.0"),
        ("warmup_s = 90", "line 1: warmup_s is 90, expected less than duration_s 60"),
        ('user = "http"', "line 1: user: Invalid enum value 'http'"),
        ("url = []", "line 1: url: Expected `array` of length >= 1"),
        ("[arrivals]\nrate = 5", "line 1: arrivals: Object missing required field `kind`, expected the kind closed, "),
        (
            '[arrivals]\nkind = "steady"',
            "line 2: arrivals.kind: Invalid value 'steady', expected the kind closed, constant, poisson, ramp, ",
        ),
        ('[arrivals]\nkind = "poisson"', "line 1: arrivals: Object missing required field `rate`"),
        ('[arrivals]\nkind = "poisson"\nrate = "3"', "line 3: arrivals.rate: Expected `float`, got `str`"),
        (
            '[arrivals]\nkind = "poisson"\nrate = 3\nusers = 1',
            "line 4: arrivals: Object contains unknown field `users`, expected one of kind, rate",
        ),
        ('arrivals = { kind = "poisson", rate = 0 }', "line 1: arrivals.rate: Expected `float` > 0.0"),
        ('arrivals.kind = "poisson"\narrivals.rate = -1', "line 2: arrivals.rate: Expected `float` > 0.0"),
        (
            '[arrivals]\nkind = "staircase"\nstep_s = 1\nrates = []',
            "line 4: arrivals.rates: Expected `array` of length >= 1",
        ),
        ('[arrivals]\nkind = "staircase"\nstep_s = 1\nrates = [0]', "line 1: arrivals: rates has nothing above 0"),
        ('[arrivals]\nkind = "staircase"\nstep_s = 1\nrates = [\n1,\n"a"]', "line 4: arrivals.rates"),
        ('[arrivals]\nkind = "ramp"\nto_rate = 0\nover_s = 1', "line 1: arrivals: from_rate and to_rate are 0"),
        ('[arrivals]\nkind = "trace"', r"arrivals.kind is 'trace', but there is no table \[trace\] with a path"),
        ('[workload]\nkind = "trace"', r"workload.kind is 'trace', but there is no table \[trace\] with a path"),
        (
            '[workload]\nkind = "synthetic"\nthinking_share = 2',
            "line 3: workload.thinking_share: Expected `float` <= 1.0",
        ),
        (
            '[workload]\nkind = "chat"\n# turns\n[workload.turns]\nkind = "normal"\nmean = 3\nstd = -1',
            "line 7: workload.turns.std: Expected `float` > 0.0",
        ),
        (
            '[workload]\nkind = "rag"\n\ninput_tokens = { kind = "uniform", min = 9, max = 3 }',
            "line 4: workload.input_tokens: min is 9, expected less than max 3",
        ),
        (
            '[workload]\nkind = "synthetic"\noptions = { max_tokens = 3 }',
            "line 3: workload: options.max_tokens is set, exp",
        ),
        ('[workload]\nkind = "file"\n', "line 1: workload: Object missing required field `path`"),
        (
            '[workload]\nkind = "chat"\nturns = { kind = "gauss", mean = 3 }',
            "line 3: workload.turns.kind: Invalid value 'gauss', expected the kind uniform, normal, lognormal",
        ),
        (
            "[cancel]\nafter = 3",
            "line 2: cancel: Object contains unknown field `after`, expected one of share, after_s",
        ),
        ("[cancel]\nafter_s = -3", "line 2: cancel.after_s: Expected `float` >= 0.0"),
        ("seed = ", "it is not TOML: Invalid value"),
        ("seed = 1\nseed = 2", "it is not TOML: Cannot overwrite a value"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=complaint) as error:
        loaded(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "scenario.toml"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere.toml: No such file or directory, expected a scenario in TOML"):
        load_scenario(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xff")
    with pytest.raises(ScenarioError, match="it is not UTF-8 text, expected a scenario in TOML"):
        load_scenario(tmp_path / "binary.toml")


def test_the_parts_of_a_scenario_check_themselves_also_without_a_file() -> None:
    with pytest.raises(ValueError, match="warmup_s is 5, expected less than duration_s 1"):
        Scenario(duration_s=1)
    with pytest.raises(ValueError, match=r"there is no table \[trace\]"):
        msgspec.structs.replace(Scenario(), workload=TraceLengths())
    with pytest.raises(ValueError, match="own field thinking_share"):
        Synthetic(options={"thinking": True})
    assert rate_of(TraceReplay()) is None


VALUES = st.one_of(
    st.integers(-10, 10**12), st.floats(), st.booleans(), st.text(), st.lists(st.floats(), max_size=3), st.datetimes()
)


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(one):08x}" for one in value if not 0xD800 <= ord(one) < 0xE000)
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


@given(
    field=st.sampled_from(sorted(Scenario.__struct_fields__)),
    value=VALUES,
)
def test_any_value_of_any_field_is_taken_or_refused(
    field: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused_or_sound(tmp_path_factory.mktemp("scenario"), f"{field} = {toml(value)}\n")


@given(
    table=st.sampled_from(
        [
            '[arrivals]\nkind = "ramp"\nto_rate = 1\nover_s = 5\nfrom_rate = {}\n',
            '[arrivals]\nkind = "poisson"\nrate = {}\n',
            '[arrivals]\nkind = "closed"\nusers = {}\n',
            '[arrivals]\nkind = "staircase"\nstep_s = 1\nrates = {}\n',
            '[workload]\nkind = "synthetic"\ninput_tokens = {}\n',
            '[workload]\nkind = "chat"\nturns = {{ kind = "normal", mean = 3, std = {} }}\n',
            '[workload]\nkind = "rag"\ndocuments = {}\n',
            "[cancel]\nafter_s = {}\n",
        ]
    ),
    value=VALUES,
)
def test_any_value_in_a_table_is_taken_or_refused(
    table: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused_or_sound(tmp_path_factory.mktemp("scenario"), table.format(toml(value)))


def refused_or_sound(directory: Path, text: str) -> None:
    try:
        scenario = loaded(directory, text)
    except ScenarioError as error:
        # A default that another field makes impossible stands on no line.
        assert "line " in str(error) or "not TOML" in str(error) or "warmup_s is 5, expected less than" in str(error)
        assert "\n" not in str(error)
        return
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario
    if not isinstance(scenario.arrivals, (ClosedLoop, TraceReplay)):
        times = schedule(scenario.arrivals, duration_s=scenario.duration_s, seed=scenario.seed)
        assert all(time_s >= 0 for time_s in itertools.islice(times, 20))


def test_those_that_ship_lie_in_the_package() -> None:
    package = Path(nemotron_loadtest.__file__).parent
    assert shipped_scenarios()
    assert all(package in path.parents for path in shipped_scenarios())


def test_none_needs_what_is_not_shipped() -> None:
    assert [path.stem for path in shipped_scenarios() if load_scenario(path).package] == []


def test_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenario("quick").name == "quick.toml"
    assert find_scenario("own.toml") == Path("own.toml")
    (tmp_path / "quick").write_text("")
    assert find_scenario("quick") == Path("quick")


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    listed = capsys.readouterr().out
    assert all(path.stem in listed and load_scenario(path).description in listed for path in shipped_scenarios())


def test_neither_name_nor_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nope"]) == 2
    error = capsys.readouterr().err
    assert "nope: No such file" in error and "nemotron-bench scenarios" in error
