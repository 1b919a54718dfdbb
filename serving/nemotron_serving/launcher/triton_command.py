"""tritonserver's argument list and environment. What is on, off and restricted is decided here."""

from __future__ import annotations

import os
import secrets
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from nemotron_serving.cgroups import cores
from nemotron_serving.contract import CALLER
from nemotron_serving.host import HostOptions, StopRule
from nemotron_serving.launcher.endpoints import Endpoints
from nemotron_serving.launcher.options import ServeOptions, TlsFiles
from nemotron_serving.launcher.triton_files import PYTHON_BACKEND, WAITING_BACKEND, Triton
from nemotron_serving.stages.unary import MOST_CALLS

ADMIN_HEADER = "nemotron-admin-key"
NO_HEADER = "closed: no header opens it"
"""What stands for the admin key's header where there is no key. No request has it: with its colon it is no name in HTTP
nor in gRPC. A secret value alone would not do: Triton takes it as an argument, which all users of a machine can see.
"""
# Health, metadata, configuration and inference stay open. The rest changes the server or tells about other people's
# requests.
RESTRICTED = ("shared-memory", "model-repository", "statistics", "trace", "logging")
KEEP_ALIVE_MS = 10_000
"""A gRPC connection on which nothing came for so long is asked whether it lives."""
KEEP_ALIVE_TIMEOUT_MS = 10_000
"""And is closed when it has not answered in this time: an answer may have to wait behind a large message."""
PYTHON_MODELS = 4
_VERTEX = "AIP_MODE"  # has Triton listen at one more port, on all addresses and past every restriction
_MOST_TOKENIZER_THREADS = 16  # that encode one long prompt
_OWN_THREADS = 39  # of tritonserver, measured with 2.51: what its servers, models and gRPC start
_SENDING_THREADS = 8  # of each Python model: they pass on what one or two of its own threads send


def tritonserver_arguments(
    triton: Triton,
    endpoints: Endpoints,
    *,
    repository: Path,
    backends: Path,
    admin_key: str | None,
    shm_prefix: str,
    tls: TlsFiles | None,
    gpu: bool,
    stops: StopRule,
    max_in_flight: int,
) -> list[str]:
    """The command that starts Triton.

    Args:
        triton: The installation.
        endpoints: Where it listens.
        repository: The prepared model repository.
        backends: The prepared backend directory.
        admin_key: What a request must carry to reach a restricted endpoint; None lets none.
        shm_prefix: How the names of the shared-memory regions in /dev/shm start.
        tls: Files for gRPC, if it is to use TLS.
        gpu: Whether the engine runs on a GPU, and the GPU's metrics are wanted.
        stops: With `bound`, the header that tells whose a request is goes to the models.
        max_in_flight: Requests that may wait for their answers in the model `unary` at once.
    """
    needed = f"{ADMIN_HEADER}={admin_key}" if admin_key else f"{NO_HEADER}={secrets.token_urlsafe(32)}"
    restricted = f"{','.join(RESTRICTED)}:{needed}"
    return [
        str(triton.binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--http-address={endpoints.bind}",
        f"--http-port={endpoints.http_port}",
        f"--grpc-address={endpoints.bind}",
        f"--grpc-port={endpoints.grpc_port}",
        f"--metrics-address={endpoints.bind}",
        f"--metrics-port={endpoints.metrics_port}",
        f"--http-restricted-api={restricted}",
        f"--grpc-restricted-protocol={restricted}",
        *_tls_arguments(tls),
        *_forwarding_arguments(stops),
        *_keep_alive_arguments(),
        # Triton sets no limit to a message, and would keep the largest ones of eight requests for ever.
        "--grpc-infer-allocation-pool-size=0",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-on-error=true",
        # Our configurations are complete; completing them would start every model's process twice.
        "--disable-auto-complete-config",
        # For the models' own clean-up: draining is over when Triton gets its signal.
        "--exit-timeout-secs=5",
        # Our tensors are a few bytes on the CPU: pools for fast copies to a GPU would be memory lost.
        "--pinned-memory-pool-byte-size=0",
        "--cuda-memory-pool-byte-size=0:0",
        f"--allow-gpu-metrics={'true' if gpu else 'false'}",
        *_backend_arguments(PYTHON_BACKEND, shm_prefix, _SENDING_THREADS),
        # A request from one model to another keeps one of these threads until its first response.
        *_backend_arguments(WAITING_BACKEND, shm_prefix, _SENDING_THREADS + min(max_in_flight, MOST_CALLS)),
    ]


def tritonserver_threads(max_in_flight: int) -> int:
    """Threads of tritonserver alone with our Python models, on a machine of two cores; with 128 it is 30 more."""
    return _OWN_THREADS + PYTHON_MODELS * _SENDING_THREADS + min(max_in_flight, MOST_CALLS)


def tritonserver_environment(
    triton: Triton, options: ServeOptions, runtime_dir: Path, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What Triton and its Python models run with: this interpreter's world, and the word to the models."""
    said = {name: value for name, value in vars(options).items() if name in HostOptions.__struct_fields__}
    host = HostOptions(
        **said | {"package": options.package.resolve(), "runtime_dir": runtime_dir, "secret": secrets.token_hex(16)}
    )
    return {
        **_thread_counts(),
        # A variable left from another server would be taken for a setting of this one.
        **{name: value for name, value in inherited.items() if name != _VERTEX and not name.startswith("NEMOTRON_")},
        **host.to_environment(),
        "LD_LIBRARY_PATH": _joined(*map(str, triton.library_dirs), inherited.get("LD_LIBRARY_PATH", "")),
        # The stub embeds Python, which looks for its prefix, and so for a virtual environment, beside python3 in PATH.
        "PATH": _joined(str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)),
        "PYTHONPATH": _joined(*importable_paths()),
    }


def _thread_counts() -> dict[str, str]:
    """Threads of the models' libraries, which take one for each core if nobody tells them; the operator may."""
    return {
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, in every process; none of them multiplies matrices
        "RAYON_NUM_THREADS": str(min(cores(), _MOST_TOKENIZER_THREADS)),
    }


def importable_paths() -> list[str]:
    """Where this interpreter finds installed modules, including editable installs; not its standard library."""
    own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "scripts")}
    return [
        entry
        for entry in sys.path
        if entry and entry not in own and not entry.endswith("lib-dynload") and Path(entry).is_dir()
    ]


def _backend_arguments(name: str, shm_prefix: str, threads: int) -> list[str]:
    return [
        f"--backend-config={name},shm-region-prefix-name={shm_prefix}",
        f"--backend-config={name},thread-pool-size={threads}",
    ]


def _tls_arguments(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    files = [f"--grpc-server-cert={tls.certificate}", f"--grpc-server-key={tls.key}"]
    if tls.client_ca is None:
        return ["--grpc-use-ssl=true", *files]
    return ["--grpc-use-ssl-mutual=true", *files, f"--grpc-root-cert={tls.client_ca}"]


def _keep_alive_arguments() -> list[str]:
    """How a connection whose other end is gone without a word is found, and who may ask whether it lives."""
    return [
        f"--grpc-keepalive-time={KEEP_ALIVE_MS}",
        f"--grpc-keepalive-timeout={KEEP_ALIVE_TIMEOUT_MS}",
        # Also of a connection on which nobody asks, and time and again: after two questions Triton would ask no more.
        "--grpc-keepalive-permit-without-calls=1",
        "--grpc-http2-max-pings-without-data=0",
        # A client asks, too, and has no data while it waits in the queue or holds an idle session. Triton allows one
        # question in five minutes and ends the connections of those that ask more often. Most clients ask every 10 s at
        # the most; half of it, for these do not arrive to the millisecond.
        "--grpc-http2-min-recv-ping-interval-without-data=5000",
    ]


def _forwarding_arguments(stops: StopRule) -> list[str]:
    if stops == "any":
        return []
    return [f"--{protocol}-header-forward-pattern=^{CALLER}$" for protocol in ("grpc", "http")]


def _joined(*paths: str) -> str:
    return os.pathsep.join(path for path in paths if path)
