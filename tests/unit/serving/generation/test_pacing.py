from __future__ import annotations

import os

import pytest

from nemotron_serving.generation.pacing import adaptive_interval_s


def test_few_streams_look_continuous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert [adaptive_interval_s(streams) for streams in (0, 1, 2)] == [0.04] * 3


def test_many_streams_share_a_bounded_number_of_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for streams in (8, 64, 1000):
        assert streams / adaptive_interval_s(streams) <= 50
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert adaptive_interval_s(50) == pytest.approx(2.0)
