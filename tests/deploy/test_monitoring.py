"""What deploy/monitoring holds, read by Prometheus' and Alertmanager's own tools."""

from __future__ import annotations

import re
import subprocess

import pytest

from deploy.monitoring.grafana import Dashboard
from deploy.monitoring.make_dashboards import ALL, DASHBOARDS, text_of
from tests.deploy.tools import DEPLOY, tool

MONITORING = DEPLOY / "monitoring"


@pytest.mark.parametrize(
    ("program", "arguments", "name"),
    [
        ("promtool", ["check", "rules"], "rules/nemotron.yaml"),
        ("promtool", ["check", "config"], "prometheus.yaml"),
        ("amtool", ["check-config"], "alertmanager.yaml"),
    ],
)
def test_a_file_is_one_that_its_program_takes(program: str, arguments: list[str], name: str) -> None:
    done = subprocess.run(
        [tool(program), *arguments, MONITORING / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("SUCCESS", done.stdout)


@pytest.mark.parametrize("dashboard", ALL, ids=lambda one: one.name)
def test_the_file_of_a_dashboard_is_what_python_makes(dashboard: Dashboard) -> None:
    written = (DASHBOARDS / f"{dashboard.name}.json").read_text(encoding="utf-8")
    assert written == text_of(dashboard), "run python -m deploy.monitoring.make_dashboards"


def test_no_other_dashboard_is_there() -> None:
    assert {path.name for path in DASHBOARDS.iterdir()} == {f"{dashboard.name}.json" for dashboard in ALL}
