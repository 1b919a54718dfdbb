from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from nemotron_serving.host import HostOptions, StopRule
from nemotron_serving.launcher.endpoints import Endpoints
from nemotron_serving.launcher.options import ServeOptions, TlsFiles
from nemotron_serving.launcher.triton_command import tritonserver_arguments, tritonserver_environment
from nemotron_serving.launcher.triton_files import WAITING_BACKEND, Triton
from nemotron_serving.stages.unary import MOST_CALLS

TRITON = Triton(Path("/triton/bin/tritonserver"), Path("/backend"), Path("/stub"), (Path("/libs"), Path("/python/lib")))
ENDPOINTS = Endpoints("127.0.0.1", 1, 2, 3, 4, tls=False)


def arguments(
    tls: TlsFiles | None = None,
    *,
    gpu: bool = False,
    max_in_flight: int = 80,
    stops: StopRule = "any",
    admin_key: str | None = "secret",
) -> list[str]:
    return tritonserver_arguments(
        TRITON,
        ENDPOINTS,
        repository=Path("/models"),
        backends=Path("/backends"),
        admin_key=admin_key,
        shm_prefix="prefix-",
        tls=tls,
        gpu=gpu,
        max_in_flight=max_in_flight,
        stops=stops,
    )


def test_everything_listens_where_it_was_told() -> None:
    given = arguments()
    assert given[0] == "/triton/bin/tritonserver"
    for service, port in (("http", 1), ("grpc", 2), ("metrics", 3)):
        assert f"--{service}-address=127.0.0.1" in given
        assert f"--{service}-port={port}" in given


def test_administration_is_restricted_on_both_protocols() -> None:
    closed = "shared-memory,model-repository,statistics,trace,logging:nemotron-admin-key=secret"
    assert {f"--http-restricted-api={closed}", f"--grpc-restricted-protocol={closed}"} < set(arguments())
    assert "--model-control-mode=none" in arguments()


def test_without_a_key_no_header_can_be_the_right_one() -> None:
    """Whoever is on the machine can read the arguments."""
    restricted = [one for one in arguments(admin_key=None) if "-restricted-" in one]
    assert len(restricted) == 2
    for one in restricted:
        header = one.split("logging:")[1].partition("=")[0]
        assert ":" in header


def test_large_messages_are_not_kept_for_later_requests() -> None:
    assert "--grpc-infer-allocation-pool-size=0" in arguments()


def test_without_tls_nothing_is_said_about_it() -> None:
    assert not [argument for argument in arguments() if "ssl" in argument]


def test_tls_and_mutual_tls() -> None:
    files = ["--grpc-server-cert=crt", "--grpc-server-key=key"]
    one_way = arguments(TlsFiles(Path("crt"), Path("key")))
    assert {"--grpc-use-ssl=true", *files} < set(one_way)
    mutual = arguments(TlsFiles(Path("crt"), Path("key"), Path("ca")))
    assert {"--grpc-use-ssl-mutual=true", *files, "--grpc-root-cert=ca"} < set(mutual)
    assert "--grpc-use-ssl=true" not in mutual


def threads(given: list[str]) -> dict[str, int]:
    """Threads that each model of a backend gets."""
    options = [argument.removeprefix("--backend-config=").split(",") for argument in given if "-pool-size=" in argument]
    return {option[0]: int(option[1].rpartition("=")[2]) for option in options if len(option) > 1}


def test_calls_that_wait_leave_threads_for_the_rest() -> None:
    assert threads(arguments(max_in_flight=80))[WAITING_BACKEND] > 80


@pytest.mark.parametrize("max_in_flight", [1, 80, 704, 5000])
def test_few_threads_whatever_the_package_admits(max_in_flight: int) -> None:
    """Of the four Python models together; Triton has some forty more."""
    each = threads(arguments(max_in_flight=max_in_flight))
    assert 3 * each["python"] + each[WAITING_BACKEND] < 400
    assert each[WAITING_BACKEND] > min(max_in_flight, MOST_CALLS)


def test_both_backends_name_their_shared_memory_so_that_it_can_be_removed() -> None:
    named = {argument for argument in arguments() if argument.endswith(",shm-region-prefix-name=prefix-")}
    assert named == {f"--backend-config={name},shm-region-prefix-name=prefix-" for name in ("python", WAITING_BACKEND)}


def test_libraries_take_no_thread_for_each_core_unless_the_operator_wants_it(tmp_path: Path) -> None:
    assert environment(tmp_path)["OPENBLAS_NUM_THREADS"] == "1"
    assert 1 <= int(environment(tmp_path)["RAYON_NUM_THREADS"]) <= 16
    assert environment(tmp_path, RAYON_NUM_THREADS="40")["RAYON_NUM_THREADS"] == "40"


@pytest.mark.parametrize("gpu", [True, False])
def test_gpu_metrics_only_with_a_gpu(gpu: bool) -> None:
    assert f"--allow-gpu-metrics={str(gpu).lower()}" in arguments(gpu=gpu)


def test_only_bound_stops_have_a_header_handed_to_the_models() -> None:
    assert not [argument for argument in arguments() if "forward" in argument]
    expected = {f"--{protocol}-header-forward-pattern=^nemotron-caller$" for protocol in ("grpc", "http")}
    assert expected < set(arguments(stops="bound"))


def environment(tmp_path: Path, **inherited: str) -> dict[str, str]:
    options = ServeOptions(package=tmp_path, engine_threads=3, kv_cache_gib=2, stream_interval_ms=1.5, stops="bound")
    return tritonserver_environment(TRITON, options, Path("/run"), inherited)


def test_the_models_read_back_what_was_given(tmp_path: Path) -> None:
    read = HostOptions.from_environment(environment(tmp_path))
    assert len(read.secret) == 32
    assert msgspec.structs.replace(read, secret="") == HostOptions(
        package=tmp_path,
        runtime_dir=Path("/run"),
        engine_threads=3,
        kv_cache_gib=2,
        stream_interval_ms=1.5,
        stops="bound",
    )
    assert HostOptions.from_environment(environment(tmp_path)).secret != read.secret


def test_variables_of_another_server_do_not_reach_the_models(tmp_path: Path) -> None:
    variables = environment(tmp_path, NEMOTRON_URL="grpc://elsewhere", NEMOTRON_PACKAGE="/other", HOME="/home")
    assert "NEMOTRON_URL" not in variables
    assert variables["NEMOTRON_PACKAGE"] == str(tmp_path)
    assert variables["HOME"] == "/home"


def test_a_platforms_variables_open_no_port_of_tritons(tmp_path: Path) -> None:
    assert "AIP_MODE" not in environment(tmp_path, AIP_MODE="PREDICTION")


def test_the_models_live_in_this_python(tmp_path: Path) -> None:
    variables = environment(tmp_path, PATH="/bin", LD_LIBRARY_PATH="/cuda")
    assert variables["LD_LIBRARY_PATH"] == "/libs:/python/lib:/cuda"
    assert variables["PATH"] == f"{Path(sys.executable).parent}:/bin"
    importable = variables["PYTHONPATH"].split(os.pathsep)
    assert str(Path(pytest.__file__).parent.parent) in importable
    assert not any(path.endswith("lib-dynload") for path in importable), "the standard library belongs to the stub"
