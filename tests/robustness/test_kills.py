"""SIGKILL for each process that serves: those who wait are told, and the server comes back by itself."""

from __future__ import annotations

import time

import grpc
import pytest

from tests.integration.conftest import Server
from tests.robustness.leaving import waiting_call
from tests.robustness.observing import IN_FLIGHT, nothing_left, processes, shared_memory, wait_until_restarted
from tests.robustness.sessions import SessionCaller
from tests.waiting import allowed, wait_until

MODELS = ("preprocessing", "tensorrt_llm", "postprocessing", "unary")
CALLERS = 15


def test_callers_are_told_and_the_server_comes_back(patient_server: Server) -> None:
    """One after the other, as if they crashed now and then."""
    urls = {one: url for one, url in patient_server.info.items() if one.endswith("_url")}
    for restarts, name in enumerate(("tritonserver", *MODELS), 1):
        with grpc.insecure_channel(patient_server.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            calls = [
                waiting_call(channel, model)
                for model in ("ensemble", "unary", "tensorrt_llm")
                for _ in range(CALLERS // 3)
            ]
            busy, idle = (SessionCaller(patient_server.grpc_address, channel) for _ in range(2))
            idle.open()
            busy.open()
            busy.ask("a", 5000)
            wait_until(lambda: patient_server.metric(IN_FLIGHT) == CALLERS + 1)
            began = time.monotonic()
            processes(patient_server)[name].kill()
            for call in (*calls, busy.answers(), idle.answers()):
                with pytest.raises(grpc.RpcError):
                    list(call)
            assert time.monotonic() - began < allowed(5), name
        wait_until_restarted(patient_server, restarts)
        assert {one: patient_server.info[one] for one in urls} == urls
        wait_until(lambda: nothing_left(patient_server))
        assert len(shared_memory(patient_server)) == len(MODELS), "those of the start before are gone"
