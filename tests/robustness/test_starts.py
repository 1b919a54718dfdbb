"""Starts that lack something say what, and large packages start where a container allows a thousand threads."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tritonclient.grpc.aio import InferenceServerClient as Client

from tests.integration.conftest import BIN, serving
from tests.integration.triton_calls import tensors, values_of

CALLS = 300
TASKS = 1024


@pytest.mark.parametrize(
    ("limit", "status", "said"),
    [("ulimit -n 40", 2, "Too few open files: 40 allowed"), ("ulimit -v 1000000", 1, "(ulimit -v)")],
    ids=["before Triton", "after it"],
)
def test_a_start_that_lacks_something_says_what(
    simulated_package: Callable[..., Path], limit: str, status: int, said: str
) -> None:
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--health-port", "0"]
    command = [str(BIN / "nemotron-serve"), str(simulated_package()), *ports, "--start-seconds", "20", "--", "true"]
    ended = subprocess.run(
        ["/bin/sh", "-c", f'{limit}; exec "$@"', "sh", *command],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread of it takes addresses, also the launcher's
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_package_of_the_largest_gpu_has_few_threads(simulated_package: Callable[..., Path], tmp_path: Path) -> None:
    """Also while more callers wait in `unary` than most will ever have, each of which holds threads."""
    package = simulated_package("--token-ms", "10", "--max-batch-size", "448", "--max-waiting", "256")
    with serving(package, tmp_path) as server:
        triton = psutil.Process(server.info["triton_pid"])

        def threads() -> int:
            return sum(process.num_threads() for process in (triton, *triton.children(recursive=True)))

        async def call(client: Client) -> list[int]:
            inputs = tensors(text_input="[sim:random]", max_tokens=100)
            answer = values_of(await client.infer("unary", inputs))
            count: list[int] = answer["num_output_tokens"]
            return count

        async def call_all() -> None:
            async with Client(server.grpc_address) as client:
                calls = [asyncio.create_task(call(client)) for _ in range(CALLS)]
                await asyncio.sleep(0.5)
                assert threads() < TASKS
                assert await asyncio.gather(*calls) == [[100]] * CALLS

        assert threads() < 500
        asyncio.run(call_all())
        assert server.info["restarts"] == 0
