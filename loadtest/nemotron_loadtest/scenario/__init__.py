"""What a load test does, as a TOML file says it."""

from nemotron_loadtest.arrivals.kinds import Arrivals
from nemotron_loadtest.scenario.load import load_scenario
from nemotron_loadtest.scenario.scenario import Cancel, Scenario, UserKind
from nemotron_loadtest.scenario.shipped import find_scenario, shipped_scenarios
from nemotron_loadtest.workload.kinds import Workload

__all__ = [
    "Arrivals",
    "Cancel",
    "Scenario",
    "UserKind",
    "Workload",
    "find_scenario",
    "load_scenario",
    "shipped_scenarios",
]
