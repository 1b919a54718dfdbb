"""What a server is started with. The defaults of nemotron-serve have their home here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nemotron_serving.host import StopRule


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for gRPC.

    Attributes:
        certificate: The server's certificate (chain).
        key: Its private key.
        client_ca: Authority that clients' certificates must come from; None asks clients for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How one package is served on this machine.

    Attributes:
        package: Directory of the package.
        tritonserver: The program, or the directory that holds bin/tritonserver; None looks for it.
        model_repository: What Triton loads; None takes the repository that belongs to this installation.
        bind: IPv4 address to listen on.
        http_port: 0 picks a free port, also for the others.
        grpc_port: Port of the gRPC service.
        metrics_port: Port of /metrics.
        health_port: Port of /live and /ready; None takes the one after the metrics port, or a free one where that is 0.
        tls: Files for gRPC over TLS; None serves gRPC in the clear. HTTP is always in the clear.
        admin_key: Opens the restricted endpoints to requests that carry it; None locks them for everybody.
        engine_threads: CPU threads of the engine; None takes them from the machine.
        kv_cache_gib: Size of the KV cache in GiB; None takes it from the machine.
        stream_interval_ms: Least time between two responses of a stream; None adapts it to the load.
        stops: Whose stop requests end a request.
        log_dir: Where triton.log is kept; None keeps it in the runtime directory, which goes at the end.
        start_seconds: Time for the server to answer its first request.
        hang_seconds: Without progress for so long the server hangs; 0 never finds that.
    """

    package: Path
    tritonserver: Path | None = None
    model_repository: Path | None = None
    bind: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    health_port: int | None = None
    tls: TlsFiles | None = None
    admin_key: str | None = None
    engine_threads: int | None = None
    kv_cache_gib: int | None = None
    stream_interval_ms: float | None = None
    stops: StopRule = "any"
    log_dir: Path | None = None
    start_seconds: float = 600.0
    hang_seconds: float = 20.0
