"""The server's side of a run: its metrics, processes and GPUs, on the time axis of the requests."""

from __future__ import annotations

from nemotron_loadtest.server.gpus import Gpus
from nemotron_loadtest.server.monitor import INTERVAL_S, ServerMonitor, Watched
from nemotron_loadtest.server.processes import by_port, by_ready_file
from nemotron_loadtest.server.sample import (
    GpuSample,
    ServerSample,
    StageSample,
    decode_server_sample,
    encode_server_sample,
)

__all__ = [
    "INTERVAL_S",
    "GpuSample",
    "Gpus",
    "ServerMonitor",
    "ServerSample",
    "StageSample",
    "Watched",
    "by_port",
    "by_ready_file",
    "decode_server_sample",
    "encode_server_sample",
]
