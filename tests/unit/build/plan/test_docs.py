"""docs/plan.md shows what the commands print, and the errors that they have."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nemotron_build.cli import main
from nemotron_build.plan.validation import Comparison, ErrorSummary, compare_latency, compare_throughput

PAGE = (Path(__file__).parents[4] / "docs" / "plan.md").read_text(encoding="utf-8")
# A pipe shows a part, of what depends on the machine.
EXAMPLES = re.findall(r"```console\n\$ nemotron-build ([^|\n]+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_examples_print_what_is_shown(
    command: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(shlex.split(command))
    captured = capsys.readouterr()
    printed = "\n".join(line.rstrip() for line in (captured.out + captured.err).splitlines())
    assert printed.strip() == shown.strip()


@pytest.mark.parametrize("fitted", [True, False])
def test_the_table_of_errors_is_true(fitted: bool) -> None:
    kind = "fitted" if fitted else "judged"
    page = PAGE.replace("**", "")
    for what, comparisons in (("throughput", compare_throughput()), ("token interval", compare_latency())):
        assert _row(f"{what}, {kind}", [row for row in comparisons if row.fitted == fitted]) in page
    assert _row("throughput, all", compare_throughput()) in page


def _row(what: str, comparisons: list[Comparison]) -> str:
    errors = ErrorSummary.of(comparisons)
    return f"| {what} | {errors.rows} | {errors.median:.1%} | {errors.worst:.1%} |".replace("%", " %")
