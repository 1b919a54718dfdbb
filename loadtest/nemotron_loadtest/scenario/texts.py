"""Scenarios without the texts that they have the model read: what may be kept and shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nemotron_loadtest.scenario.scenario import Scenario


def without_texts(scenario: Scenario) -> Scenario:
    """The same, with a length in the place of each text of a prompt; options hold whatever the client takes."""
    workload = msgspec.to_builtins(scenario.workload)
    texts = {name: _lengths(workload[name]) for name in ("ask", "options") if name in workload}
    return msgspec.structs.replace(scenario, workload=msgspec.structs.replace(scenario.workload, **texts))


def _lengths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _lengths(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lengths(inner) for inner in value]
    return f"({len(value):,} characters)" if isinstance(value, str) and value else value
