"""SLO files, and what is said of broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_loadtest.analysis import Clause, load_slo, slo_names
from nemotron_loadtest.errors import ScenarioError

WHOLE = """
name = "chat"
max_error_rate = 0.02
min_goodput = 0.9
max_schedule_delay_ms = 20

[[clauses]]
metric = "ttft_ms"
percentile = 95
limit = 800
from = "actual"
thinking = "off"

[[clauses]]
metric = "itl_ms"
percentile = 99.9
limit = 50
"""


@pytest.mark.parametrize(("name", "ttft_ms", "tpot_ms"), [("server", 2000, 100), ("interactive", 500, 30)])
def test_the_classes_of_mlperf(name: str, ttft_ms: float, tpot_ms: float) -> None:
    slo = load_slo(name)
    assert slo.name == name
    assert [(clause.metric, clause.percentile, clause.limit, clause.origin) for clause in slo.clauses] == [
        ("ttft_ms", 99, ttft_ms, "intended"),
        ("tpot_ms", 99, tpot_ms, "intended"),
    ]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.toml"
    path.write_text(WHOLE)
    slo = load_slo(path)
    assert slo.clauses == (
        Clause(metric="ttft_ms", percentile=95, limit=800, origin="actual", thinking="off"),
        Clause(metric="itl_ms", percentile=99.9, limit=50),
    )
    assert slo.clauses[1].statistic == "p99_9"
    assert (slo.max_error_rate, slo.min_goodput, slo.max_schedule_delay_ms) == (0.02, 0.9, 20)


def test_what_ships_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [load_slo(name).name for name in slo_names()] == slo_names()
    assert {"server", "interactive", "laptop"} <= set(slo_names())
    Path("laptop").write_text('name = "mine"\nclauses = []')
    assert load_slo("laptop").name == "mine"  # a file that is there comes before a name that ships


def test_the_name_may_be_the_files(tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    path.write_text("clauses = []")
    slo = load_slo(str(path))
    assert slo.name == "night"
    assert slo.max_error_rate == 0.01  # A file that forgets it does not let every request fail.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"ttft_ms"', '"ttft"', r"clauses\[0\].metric is 'ttft', expected one of ttft_ms, first_answer_ms"),
        ('"itl_ms"', '"request_tokens_per_s"', r"clauses\[1\].metric is 'request_tokens_per_s'"),
        ('"itl_ms"', '"error_share"', r"clauses\[1\].metric is 'error_share'"),
        ("percentile = 95", "percentile = 97", r"clauses\[0\].percentile is 97, expected 50, 90, 95, 99 or 99.9"),
        ("limit = 50", "limit = 0", r"clauses\[1\].limit is 0, expected a number above 0"),
        ("min_goodput = 0.9", "min_goodput = 90", "min_goodput is 90, expected a share from 0 to 1"),
        ("max_error_rate = 0.02", "max_error_rate = 2", "max_error_rate is 2, expected a share"),
        ("delay_ms = 20", "delay_ms = -1", "max_schedule_delay_ms is -1"),
        ('from = "actual"', 'from = "sent"', r"Invalid enum value 'sent' - at `\$.clauses\[0\].from`"),
        ('from = "actual"', 'since = "actual"', "unknown field `since`"),
        ('"chat"', '"chat', "it is not TOML"),
    ],
)
def test_a_broken_file_names_the_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "chat.toml"
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new))
    with pytest.raises(ScenarioError, match=message) as caught:
        load_slo(path)
    assert "chat.toml" in str(caught.value)


def test_an_unknown_name_names_the_known() -> None:
    with pytest.raises(ScenarioError, match=r"no SLO 'fast'\. Name one of server, interactive, .*laptop, or the path"):
        load_slo("fast")
