"""Verdicts, clause by clause."""

from __future__ import annotations

import msgspec

from nemotron_loadtest.analysis import BUILT_IN, Clause, Slo, Verdict, judge, summarise
from nemotron_loadtest.metrics import Window
from nemotron_loadtest.samples import Sample
from tests.unit.loadtest.metrics.making import made

WINDOW = Window(0, 100)


def answered(number: int, ttft_s: float = 0.1, late_s: float = 0.0) -> Sample:
    start_s = number / 10
    first_s = start_s + late_s + ttft_s
    return made((first_s, 1), (first_s + 0.2, 11), intended_s=start_s, started_s=start_s + late_s)


def verdict(samples: list[Sample], slo: Slo, under: Slo | None = None) -> Verdict:
    return judge(summarise(samples, WINDOW, under or slo), slo)


def test_all_clauses_hold() -> None:
    found = verdict([answered(number) for number in range(400)], BUILT_IN["interactive"])
    assert found.passed
    assert found.failures == []
    assert [round(clause.measured or 0, 3) for clause in found.clauses] == [100, 20, 0, 0]


def test_the_clause_that_fails_is_told_with_its_value() -> None:
    samples = [answered(number, ttft_s=0.6 if number % 20 == 0 else 0.1) for number in range(400)]
    found = verdict(samples, BUILT_IN["interactive"])
    assert not found.passed
    assert found.failures == ["Time to first token p99 from the intended start ≤ 500 ms: 600 ms"]


def test_too_few_requests_have_no_value_and_fail() -> None:
    found = verdict([answered(number) for number in range(40)], BUILT_IN["server"])
    assert found.clauses[0].measured is None
    assert "no value (a p99 needs 100 values, there are 40)" in found.failures[0]


def test_few_requests_pass_with_a_note() -> None:
    found = verdict([answered(number) for number in range(150)], BUILT_IN["server"])
    assert found.passed
    assert found.clauses[0].note == "of 150 values; 299 would make it sure"


def test_a_clause_on_thinking_without_such_requests_fails() -> None:
    slo = Slo(name="x", clauses=(Clause(metric="first_answer_ms", percentile=50, limit=9, thinking="on"),))
    found = verdict([answered(number) for number in range(40)], slo)
    assert "thinking on" in found.failures[0]
    assert "there are 0" in found.failures[0]


def test_errors_and_what_was_not_finished_count_against_it() -> None:
    samples = [answered(number) for number in range(400)]
    samples += [made(outcome="error", error_type="OverloadedError", intended_s=50) for _ in range(4)]
    assert verdict(samples, BUILT_IN["server"]).passed
    samples += [made(outcome="incomplete", intended_s=50), made(outcome="cancelled", intended_s=50)]
    found = verdict(samples, BUILT_IN["server"])
    assert found.failures == ["Failed or unfinished ≤ 1.00%: 1.23% (4 OverloadedError, 1 unfinished)"]


def test_nothing_at_all_fails_every_clause() -> None:
    found = verdict([], BUILT_IN["server"])
    assert not any(clause.passed for clause in found.clauses)
    assert "no request began in the window" in found.failures[2]


def test_a_late_generator_cannot_judge() -> None:
    found = verdict([answered(number, late_s=0.05) for number in range(400)], BUILT_IN["interactive"])
    assert found.failures == ["Schedule delay p99 ≤ 25 ms: 50 ms (the load generator was too slow to judge the server)"]


def test_the_start_is_the_clauses() -> None:
    samples = [answered(number, ttft_s=0.4, late_s=0.2) for number in range(200)]
    clause = Clause(metric="ttft_ms", percentile=99, limit=500)
    assert not verdict(samples, Slo(name="x", clauses=(clause,))).passed
    assert verdict(samples, Slo(name="x", clauses=(msgspec.structs.replace(clause, origin="actual"),))).passed


def test_goodput() -> None:
    samples = [answered(number, ttft_s=0.6 if number % 20 == 0 else 0.1) for number in range(400)]
    clause = Clause(metric="ttft_ms", percentile=90, limit=500)
    assert verdict(samples, Slo(name="x", clauses=(clause,), min_goodput=0.95)).passed
    found = verdict(samples, Slo(name="x", clauses=(clause,), min_goodput=0.96))
    assert found.failures == ["Goodput ≥ 96.00%: 95.00%"]


def test_goodput_of_another_slo_is_no_value() -> None:
    slo = Slo(name="x", clauses=(Clause(metric="ttft_ms", percentile=90, limit=500),), min_goodput=0.5)
    found = verdict([answered(number) for number in range(400)], slo, under=BUILT_IN["server"])
    assert found.failures == ["Goodput ≥ 50.00%: no value (the summary was made under server)"]


def test_it_travels_as_json() -> None:
    found = verdict([answered(number) for number in range(150)], BUILT_IN["server"])
    assert msgspec.json.decode(msgspec.json.encode(found), type=Verdict) == found
