"""What `nemotron-bench capacity --values` writes are values of the chart, by their names and within its limits."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]

from nemotron_loadtest.scaling import chart_values, scaling_for
from tests.deploy.tools import DEPLOY

CHART = DEPLOY / "chart" / "nemotron"


def values(autoscaler: Any, *, peak_per_s: float, with_spare: int) -> dict[str, Any]:
    scaling = scaling_for(peak_per_s=peak_per_s, rate_per_s=10.0, in_flight=40.0, with_spare=with_spare)
    found: dict[str, Any] = yaml.safe_load(chart_values(scaling, autoscaler, reasons=("why: this",)))
    return found


def known(values: Any, defaults: Any) -> bool:
    """Whether the chart has a default for each of these values."""
    if not isinstance(values, dict):
        return type(values) is type(defaults) or isinstance(values, (int, float)) >= isinstance(defaults, (int, float))
    return all(name in defaults and known(value, defaults[name]) for name, value in values.items())


@pytest.mark.parametrize("autoscaler", ["none", "hpa", "keda"])
@pytest.mark.parametrize(("peak_per_s", "with_spare"), [(0.001, 2), (60.0, 9), (5000.0, 651)])
def test_the_chart_takes_them(autoscaler: Any, peak_per_s: float, with_spare: int) -> None:
    fragment = values(autoscaler, peak_per_s=peak_per_s, with_spare=with_spare)
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(fragment)
    assert known(fragment, yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))


def test_a_name_that_the_chart_does_not_know_is_found() -> None:
    """The schema is closed, so a value under another name could not pass above."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    fragment = values("hpa", peak_per_s=60.0, with_spare=9)
    fragment["autoscaling"]["targetInFlight"] = fragment["autoscaling"].pop("inFlightPerReplica")
    with pytest.raises(jsonschema.ValidationError, match="targetInFlight"):
        jsonschema.Draft202012Validator(schema).validate(fragment)
