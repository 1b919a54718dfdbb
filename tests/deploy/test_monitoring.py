"""What deploy/monitoring holds, read by Prometheus' and Alertmanager's own tools."""

from __future__ import annotations

import re
import subprocess

import pytest

from deploy.monitoring.grafana import Dashboard
from deploy.monitoring.make_dashboards import ALL, DASHBOARDS, text_of
from tests.deploy.tools import DEPLOY, ROOT, tool

MONITORING = DEPLOY / "monitoring"
RULES = (MONITORING / "rules" / "nemotron.yaml").read_text(encoding="utf-8")
RUNBOOK = ROOT / "docs" / "deploy" / "runbook.md"
# Of each alert: its name, how long it waits, its severity, and where its section is.
ALERTS = re.findall(
    r"- alert: (\w+)\n.*?for: (\w+)\n +labels: {severity: (\w+)}\n.*?runbook_url: (\S+)\n", RULES, re.DOTALL
)


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
        [tool(program), *arguments, MONITORING / name], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search("SUCCESS", done.stdout)


@pytest.mark.parametrize("dashboard", ALL, ids=lambda one: one.name)
def test_the_file_of_a_dashboard_is_what_python_makes(dashboard: Dashboard) -> None:
    written = (DASHBOARDS / f"{dashboard.name}.json").read_text(encoding="utf-8")
    assert written == text_of(dashboard), "run python -m deploy.monitoring.make_dashboards"


def test_no_other_dashboard_is_there() -> None:
    assert {path.name for path in DASHBOARDS.iterdir()} == {f"{dashboard.name}.json" for dashboard in ALL}


def test_each_alert_has_a_section_of_the_runbook_and_each_section_an_alert() -> None:
    assert len(ALERTS) == RULES.count("- alert: ")
    for name, _, _, url in ALERTS:
        assert url == f"{RUNBOOK.relative_to(ROOT)}#{name.lower()}"
    sections = re.findall(r"^### (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [name for name, *_ in ALERTS]


@pytest.mark.parametrize(("name", "waits", "severity"), [one[:3] for one in ALERTS])
def test_a_section_says_how_severe_its_alert_is_and_what_to_do(name: str, waits: str, severity: str) -> None:
    _, _, section = RUNBOOK.read_text(encoding="utf-8").partition(f"### {name}\n")
    section = section.partition("\n### ")[0]
    said = re.match(r"\s*(\w+)(?:, (\d+) (minute|hour)s?)?\. ", section)
    assert said is not None and said[1] == severity
    assert said[2] is None or f"{said[2]}{said[3][0]}" == waits
    for name_of_part in ("Look at", "do"):
        assert re.search(rf"\*\*{name_of_part}\*\*", section, re.IGNORECASE)


def test_panels_that_the_runbook_names_are_there() -> None:
    titles = {panel.title for dashboard in ALL for _, row in dashboard.rows for panel in row}
    titles |= {dashboard.name for dashboard in ALL} | {dashboard.name.capitalize() for dashboard in ALL}
    of_others = {"Targets", "Terminating", "critical", "warning"}
    _, _, alerts = RUNBOOK.read_text(encoding="utf-8").partition("## Alerts")
    assert not set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", alerts)) - titles - of_others


@pytest.mark.parametrize(("severity", "receiver"), [("critical", "pager"), ("warning", "tickets")])
def test_an_alert_goes_to_whom_its_severity_says(severity: str, receiver: str) -> None:
    arguments = [
        "config",
        "routes",
        "test",
        f"--config.file={MONITORING / 'alertmanager.yaml'}",
        f"severity={severity}",
    ]
    done = subprocess.run([tool("amtool"), *arguments], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == receiver
