"""Each alert fires when it should and not a minute sooner, and no threshold can be moved without that being noticed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.alert_cases import CASES, HERE, Case, growing, healthy, of_replica, requests
from tests.deploy.tools import DEPLOY, tool

pytestmark = pytest.mark.timeout(500)  # a second or two where nothing else runs

RULES = DEPLOY / "monitoring" / "rules" / "nemotron.yaml"
TEXT = RULES.read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", TEXT)
# Of each recording rule its text, by its name.
RECORDING = {
    found[2]: found[1].rstrip()
    for found in re.finditer(
        r"^(      - record: (\S+)\n.*?)(?=\n      - |\n      #|\n\n)", TEXT, re.MULTILINE | re.DOTALL
    )
}
_NUMBER = r"\d+(?:\.\d+)?"


def promtool(directory: Path, rules: str, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run tests of rules."""
    (directory / "rules.yaml").write_text(rules, encoding="utf-8")
    file = directory / "tests.yaml"  # JSON is YAML
    known = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "group_eval_order": re.findall(r"- name: (\S+)", rules),
        "tests": tests,
    }
    file.write_text(json.dumps(known), encoding="utf-8")
    return subprocess.run(
        [tool("promtool"), "test", "rules", file], capture_output=True, text=True, check=False, timeout=400
    )


def firing(minute: int, expected: list[dict[str, str]], which: str = "") -> dict[str, Any]:
    """That these alerts fire at a minute and no others of those that are looked at."""
    return {
        "expr": f'count by (alertname, namespace, instance) (ALERTS{{alertstate="firing"{which}}})',
        "eval_time": f"{minute}m",
        "exp_samples": [{"labels": f"{{{_labels(one)}}}", "value": 1} for one in expected],
    }


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f'{name}="{value}"' for name, value in labels.items())


def unit_test(series: Mapping[str, str], checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One of promtool's: what comes, a value a minute, and what is to be seen."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": checks,
    }


def told(case: Case, names: Sequence[str] = ()) -> dict[str, Any]:
    """A case as promtool reads it, about all alerts, or about those of a name each as if each were the case's."""
    checks = []
    for name in names or [case.alert]:
        which = f', alertname="{name}"' if names else f', alertname!~"{"|".join(case.with_it)}"'
        first, last = case.silent if case.fires_at is None else (0, case.fires_at)
        few = (last - 1,) if case.fires_at else range(first, last, max(1, (last - first) // 25))
        checks += [firing(minute, [], which) for minute in (few if names else range(first, last))]
        for minute in (case.fires_at, case.still_at):
            if minute is not None:
                checks.append(firing(minute, [{"alertname": name, **case.labels}], which))
    return unit_test(case.series, checks)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_no_other_does(alert: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.alert == alert]
    assert any(case.fires_at is not None for case in cases)
    done = promtool(tmp_path, TEXT, [told(case) for case in cases])
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_case_is_of_an_alert_that_is_there() -> None:
    assert {case.alert for case in CASES} == set(ALERTS)


def test_nothing_fires_in_normal_operation(tmp_path: Path) -> None:
    """A day's: load, an upgrade of both replicas one after the other, one crash, a few refusals and failures."""
    series = healthy()
    series[of_replica("nemotron_start_time_seconds")] = "1x200 2x50 3x400"
    series[of_replica("nemotron_draining")] = "0x199 1 0x400"
    series[of_replica("nemotron_requests_waiting")] = "0 3 0 0 0 2 0 0 " * 80
    series[requests("refused")] = growing((300, 0), (1, 200), (299, 0))
    series[requests("error")] = growing((400, 0.02), (200, 0))
    checks = [firing(minute, []) for minute in range(0, 600, 5)]
    done = promtool(tmp_path, TEXT, [unit_test(series, checks)])
    assert done.returncode == 0, done.stdout + done.stderr


RECORDED = {
    "namespace:nemotron_requests_in_flight:sum": 16,
    "namespace:nemotron_requests_waiting:sum": 3,
    "namespace:nemotron_max_requests_in_flight:sum": 128,
    "namespace:nemotron_replicas:serving": 1,
    'namespace_outcome:nemotron_requests:rate5m{outcome="ok"}': 1000 / 60,
    'namespace_outcome:nemotron_requests:rate5m{outcome="refused"}': 2,
    'namespace_kind:nemotron_tokens:rate5m{kind="output"}': 100,
    'namespace_outcome:nemotron_front_requests:rate5m{outcome="ok"}': 1000 / 60,
    "namespace:nemotron_ttft_slow:ratio_rate5m": 0.25,
    "namespace:nemotron_ttft_slow:ratio_rate30m": 0.25,
    "namespace:nemotron_ttft_slow:ratio_rate1h": 0.25,
    "namespace:nemotron_ttft_slow:ratio_rate6h": 0.25,
}


def test_what_is_recorded_is_what_its_name_says(tmp_path: Path) -> None:
    assert {name.partition("{")[0] for name in RECORDED} == set(RECORDING) == set(re.findall(r"- record: (\S+)", TEXT))
    series = healthy() | {
        of_replica("nemotron_requests_waiting"): "3x600",
        of_replica("nemotron_draining"): "1x600",
        of_replica("nemotron_tokens_total", 'kind="output"'): growing((600, 6000)),
        of_replica("nemotron_ttft_seconds_bucket", 'le="3"'): growing((600, 450)),
        requests("refused"): growing((600, 120)),
    }
    checks = [
        {
            "expr": f"round({_in(name)}, 0.0001)",
            "eval_time": "400m",
            "exp_samples": [{"labels": f"{{{_labels(_labels_of(name))}}}", "value": round(value, 4)}],
        }
        for name, value in RECORDED.items()
    ]
    done = promtool(tmp_path, TEXT, [unit_test(series, checks)])
    assert done.returncode == 0, done.stdout + done.stderr


def _in(series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{namespace="{HERE}", {labels or "}"}'


def _labels_of(series: str) -> dict[str, str]:
    return {"namespace": HERE, **dict(re.findall(r'(\w+)="(\w+)"', series))}


@pytest.mark.parametrize("name", ["3", "3.0", "3.000000"])
def test_a_bucket_is_found_however_its_bound_is_written(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.alert == "NemotronTtftBurnsFast" and case.what == "5 min")
    test = told(case)
    for one in test["input_series"]:
        one["series"] = one["series"].replace('le="3"', f'le="{name}"')
    done = promtool(tmp_path, TEXT, [test])
    assert done.returncode == 0, done.stdout + done.stderr


def mutants(block: str) -> Iterator[tuple[str, str]]:
    """A rule with one number changed, each time, and what was changed."""
    for found in re.finditer(rf"(?:==|>|<) ({_NUMBER})$|(?:==|>|<) ({_NUMBER}) ", block, re.MULTILINE):
        group = 1 if found[1] else 2
        for new in _near(found[group]):
            yield f"{found[0].strip()} to {new}", block[: found.start(group)] + new + block[found.end(group) :]
    (duration,) = re.finditer(r"for: (\d+)([mh])$", block, re.MULTILINE)
    minutes = int(duration[1]) * {"m": 1, "h": 60}[duration[2]]
    for changed in (minutes - 1, minutes + 1):
        text = f"for: {changed}m"
        yield f"{duration[0]} to {text}", block[: duration.start()] + text + block[duration.end() :]


def _near(number: str) -> tuple[str, str]:
    value = float(number)
    if value == int(value) and value < 10:
        return f"{value - 1:g}", f"{value + 1:g}"
    return f"{value * 0.9:g}", f"{value * 1.1:g}"


def of_rules(test: dict[str, Any], rules: str) -> dict[str, Any]:
    """A test without the series that no rule names."""
    kept = [one for one in test["input_series"] if one["series"].partition("{")[0] in rules]
    return {**test, "input_series": kept}


@pytest.mark.parametrize("alert", ALERTS)
def test_a_threshold_or_a_duration_that_is_changed_is_noticed(alert: str, tmp_path: Path) -> None:
    """All changed rules are tested at once, as alerts of their own, beside one that was not changed."""
    (block,) = re.findall(rf"      - alert: {alert}\n.*?(?=\n      - |\n      #|\n\n|\Z)", TEXT, re.DOTALL)
    known = {"Unchanged": ("", block)} | {f"Mutant{number}": one for number, one in enumerate(mutants(block))}
    assert len(known) >= 5
    blocks = [text.replace(f"alert: {alert}", f"alert: {name}") for name, (_, text) in known.items()]
    recording = [text for name, text in RECORDING.items() if name in block]
    rules = "\n".join(
        ["groups:", "  - name: recording", "    rules:", *recording, "  - name: changed", "    rules:", *blocks]
    )
    tests = [of_rules(told(case, list(known)), rules) for case in CASES if case.alert == alert]
    done = promtool(tmp_path, rules, tests)
    noticed = set(re.findall(r"expr:.*?alertname=\W*(Unchanged|Mutant\d+)", done.stdout + done.stderr))
    assert "FAILED" in done.stdout + done.stderr and "Unchanged" not in noticed
    assert not [what for name, (what, _) in known.items() if name not in noticed and name != "Unchanged"]
