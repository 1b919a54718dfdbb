"""The server's side of a run: its metrics, processes and GPUs, on the time axis of the requests."""

from __future__ import annotations

from nemotron_loadtest.server.machine import ports_of
from nemotron_loadtest.server.monitor import ServerMonitor, Watched
from nemotron_loadtest.server.sample import (
    GpuSample,
    ServerSample,
    StageSample,
    decode_server_sample,
    encode_server_sample,
)

__all__ = [
    "GpuSample",
    "ServerMonitor",
    "ServerSample",
    "StageSample",
    "Watched",
    "decode_server_sample",
    "encode_server_sample",
    "ports_of",
]
