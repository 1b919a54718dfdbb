"""What a deployment sees of a process that hangs, as it is deployed: with the default patience, and with a front.

`tests/robustness/test_hangs.py` and `test_openai_port.py` stop every process there is, with less patience.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from nemotron_client import Client, ServerUnavailableError
from tests.integration.conftest import Server, serving, simulated_package, status
from tests.integration.front.raw import RawCaller, question
from tests.robustness.observing import processes
from tests.waiting import allowed, wait_until

__all__ = ["simulated_package"]  # a fixture

pytestmark = pytest.mark.timeout(900)

NOTICED_S = 30.0
BACK_S = 240.0
ENDLESS = question("[sim:random]", max_tokens=100_000)
PACKAGE = ("--ttft-ms", "5", "--token-ms", "20", "--max-seq-len", "131072")


def health(server: Server) -> tuple[int, int]:
    """What `/live` and `/ready` say."""
    url = server.info["health_url"]
    return status(f"{url}/live"), status(f"{url}/ready")


def wait_for(server: Server, ready: int, seconds: float) -> None:
    """Wait until `/ready` has this status; `/live` says all the time that nobody has to restart the container."""

    def there() -> bool:
        live, now = health(server)
        assert live == 200
        return now == ready

    wait_until(there, seconds)


def test_a_stopped_engine_and_a_stopped_front_are_noticed_and_replaced_and_callers_told(
    simulated_package: Callable[..., Path], tmp_path: Path, record_property: Callable[[str, Any], None]
) -> None:
    """Each of its own server, at once, for both take the patience of 20 s."""
    package = simulated_package(*PACKAGE)
    directories = [tmp_path / "engine", tmp_path / "front"]
    for directory in directories:
        directory.mkdir()
    with (
        serving(package, directories[0], "--openai-port", "0") as engine,
        serving(package, directories[1], "--openai-port", "0") as front,
        Client(engine.grpc_url, max_retries=0) as direct,
        Client(front.grpc_url, max_retries=0) as beside,
        direct.stream_chat(**ENDLESS) as stream,
        beside.stream_chat(**ENDLESS) as unharmed,
        RawCaller(engine.info["openai_url"].removesuffix("/v1"), {**ENDLESS, "stream": True}) as through_front,
        RawCaller(front.info["openai_url"].removesuffix("/v1"), {**ENDLESS, "stream": True}) as cut,
    ):
        before, old_front = engine.info, front.info["front_pid"]
        next(stream)
        next(unharmed)
        through_front.read_until(b"data:")
        cut.read_until(b"data:")
        began = time.monotonic()
        processes(engine)["tensorrt_llm"].suspend()
        psutil.Process(old_front).suspend()

        wait_for(engine, 503, allowed(NOTICED_S))
        record_property("engine_noticed_s", round(time.monotonic() - began, 1))
        with pytest.raises(ServerUnavailableError):
            list(stream)
        through_front.read_all()
        *_, error, done = through_front.data
        assert json.loads(error)["error"]["message"]
        assert done == "[DONE]"
        with RawCaller(engine.info["openai_url"].removesuffix("/v1"), question("Hi", max_tokens=2)) as new:
            new.read_all()  # answered, where the server is back already
            assert new.status == 200 or b'"code":"not_ready"' in new.received

        # Its ready file is gone while it is away, so what is new there says that it was noticed, too.
        wait_until(lambda: front.info["front_pid"] != old_front, allowed(NOTICED_S))
        record_property("front_back_s", round(time.monotonic() - began, 1))
        cut.read_all()
        assert not cut.received.endswith(b"0\r\n\r\n"), "nobody may take this for a whole answer"
        next(unharmed)
        beside.cancel(unharmed.request_id)

        for server in (engine, front):
            wait_for(server, 200, BACK_S)
            with RawCaller(server.info["openai_url"].removesuffix("/v1"), question("Hi", max_tokens=2)) as new:
                new.read_all()
                assert new.status == 200
        record_property("engine_back_s", round(time.monotonic() - began, 1))
        assert engine.info["model_pids"] != before["model_pids"]
        assert engine.info["restarts"] == 1
        assert front.info["restarts"] == 0
