"""What tests have measured, in the summary at the end: a conftest.py that imports both names has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_NAME = "figure"


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says something that was measured, from a worker of pytest-xdist as well."""

    def say(text: str) -> None:
        request.node.user_properties.append((_NAME, text))

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Called by pytest."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    found = [
        text for report in reports if report.when == "call" for name, text in report.user_properties if name == _NAME
    ]
    if found:
        terminalreporter.section("measured")
        for line in found:
            terminalreporter.write_line(line)
