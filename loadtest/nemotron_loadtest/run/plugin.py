"""Makes of Locust's own command a load test: what loadtest/locustfile.py consists of."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from nemotron_loadtest.users import patched  # noqa: F401 - before all else

# isort: split
import gevent
from locust import LoadTestShape, events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from nemotron_loadtest.errors import LoadTestError
from nemotron_loadtest.run.conductor import Conductor
from nemotron_loadtest.run.runner import LOOPBACK, users_of
from nemotron_loadtest.run.sides import OwnSide, Side
from nemotron_loadtest.run.workers import MasterSide, WorkerSide
from nemotron_loadtest.scenario import Scenario, at_servers, find_scenario, load_scenario
from nemotron_loadtest.users.locust_users import USERS
from nemotron_loadtest.users.servers import servers

_logger = logging.getLogger(__name__)


def register() -> None:
    """Add the options and the listeners."""
    events.init_command_line_parser.add_listener(_add_options)
    events.init.add_listener(_begin)


class Plugin:
    """Leads the runs that are started in Locust, one after the other, as often as its web UI is asked to."""

    def __init__(self, environment: Environment, scenario: Scenario, directory: Path | None) -> None:
        self._environment = environment
        self._scenario = scenario
        self._directory = directory
        self._runs = 0
        self._conductor: Conductor | None = None
        runner = environment.runner
        assert isinstance(runner, (LocalRunner, MasterRunner))  # noqa: S101 - a worker has none
        self._runner = runner
        self._master = MasterSide(runner, scenario, self._take) if isinstance(runner, MasterRunner) else None
        events.test_start.add_listener(lambda **_: self._start())
        events.spawning_complete.add_listener(lambda **_: self._go())
        events.test_stopping.add_listener(lambda **_: self._end())

    def _start(self) -> None:
        self._conductor = None
        self._runs += 1
        scenario = _at(self._scenario, self._environment.host)
        self._environment.host = _shown(scenario)
        directory = self._directory
        if directory is not None and self._runs > 1:
            directory = directory.with_name(f"{directory.name}-{self._runs}")
        conductor = Conductor(
            scenario, directory=directory, on_warning=_logger.warning, metrics_url=self._metrics_url(scenario)
        )
        if self._master:
            self._master.scenario = scenario
        side: Side = self._master or OwnSide(self._environment, scenario, self._take)
        try:
            conductor.prepare(side)
        except LoadTestError as error:
            _logger.error("%s", error)
            self._environment.process_exit_code = error.exit_status
            gevent.spawn(self._stop)
        else:
            self._conductor = conductor

    def _metrics_url(self, scenario: Scenario) -> str | None:
        options = self._environment.parsed_options
        several = isinstance(scenario.url, tuple) and len(scenario.url) > 1
        return options.metrics_url if options and not several else None

    def _go(self) -> None:
        if self._conductor and not self._conductor.begun:
            self._conductor.begin()
            gevent.spawn(self._lead, self._conductor)

    def _lead(self, conductor: Conductor) -> None:
        conductor.wait()
        if conductor is self._conductor:
            self._stop()

    def _take(self, sample: Any) -> None:
        if self._conductor:
            self._conductor.take(sample)

    def _stop(self) -> None:
        if self._environment.web_ui is None:
            self._runner.quit()
        else:
            self._runner.stop()

    def _end(self) -> None:
        if self._conductor:
            conductor = self._conductor
            conductor.end()
            self._conductor = None
            if conductor.record.problem:
                _logger.error("%s", conductor.record.problem)
                self._environment.process_exit_code = 1


class ScenarioUsers(LoadTestShape):
    """The scenario's users from the start to the end.

    Locust's page then asks for no number of users, which would have no effect or make another test than the scenario.
    """

    def __init__(self, users: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._users = users

    def tick(self) -> tuple[int, float]:
        """See `LoadTestShape`."""
        return self._users, self._users


def _at(scenario: Scenario, host: str | None) -> Scenario:
    """The scenario against the servers that Locust's `host` names, with commas between several; none keeps its own."""
    urls = tuple(url.strip() for url in (host or "").split(",") if url.strip())
    return at_servers(scenario, urls) if urls else scenario


def _shown(scenario: Scenario) -> str:
    """The servers of a scenario as `host`; empty where the client would refuse them, which the start of a run says."""
    try:
        return ",".join(servers(scenario))
    except LoadTestError:
        return ""


def _add_options(parser: Any) -> None:
    # As everything else of this stack: whoever wants more than this machine to reach it says so.
    parser.set_defaults(web_host=LOOPBACK, master_bind_host=LOOPBACK)
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        env_var="NEMOTRON_SCENARIO",
        include_in_web_ui=False,
        help="what to do, as for 'nemotron-bench run'",
    )
    parser.add_argument(
        "--metrics-url",
        metavar="URL",
        include_in_web_ui=False,
        help="of a single server's metrics page, as for 'nemotron-bench run'",
    )
    parser.add_argument(
        "--result-dir",
        metavar="DIR",
        env_var="NEMOTRON_RESULT_DIR",
        include_in_web_ui=False,
        help="new directory for the samples, for 'nemotron-bench report'",
    )


def _begin(environment: Environment, **_: Any) -> None:
    runner, options = environment.runner, environment.parsed_options
    assert options is not None  # noqa: S101 - Locust's command has them
    if isinstance(runner, WorkerRunner):
        WorkerSide(environment, runner)
        return
    if not options.scenario:
        raise SystemExit("locust: no scenario is given, expected --scenario FILE or NEMOTRON_SCENARIO.")
    try:
        scenario = load_scenario(find_scenario(options.scenario))
    except LoadTestError as error:
        raise SystemExit(f"locust: {error}") from None
    environment.user_classes = [USERS[_at(scenario, environment.host).user]]
    environment.host = environment.host or _shown(scenario)
    users = users_of(scenario, options.expect_workers if isinstance(runner, MasterRunner) else 1)
    options.num_users = options.num_users or users
    options.spawn_rate = options.spawn_rate or users
    if environment.web_ui is not None:
        environment.shape_class = ScenarioUsers(users)
    Plugin(environment, scenario, Path(options.result_dir) if options.result_dir else None)
