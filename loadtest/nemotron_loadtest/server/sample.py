"""What a server was like at an instant of the run: one line of server.jsonl.

Times are on the axis of the requests' samples: seconds since the start of the run. A value that could not be had is
None; a server that did not answer leaves a record with `scraped` false and what is known of its processes.
"""

from __future__ import annotations

import msgspec


class StageSample(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the ensemble, as Triton's own metrics have it.

    Attributes:
        pending: Requests that wait for the model to take them.
        queue_ms: Mean wait of the requests that it took since the sample before; None if it took none. For
            postprocessing a response is a request.
        compute_ms: Mean time that it held such a request. For a model that answers later from another thread, as
            this stack's do, that is the time to accept the request and not the time to answer it.
    """

    pending: int
    queue_ms: float | None
    compute_ms: float | None


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU, as Triton's metrics have it, or NVML where the server runs here and does not say.

    Attributes:
        index: Number of the GPU, from 0.
        busy: Share of the last moments in which a kernel ran, 0 to 1.
        memory_bytes: In use, by any process.
        memory_total_bytes: Memory of the card.
        power_w: Power drawn; None where the card does not say.
    """

    index: int
    busy: float
    memory_bytes: int
    memory_total_bytes: int
    power_w: float | None


class ServerSample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One look at one server.

    Attributes:
        at_s: When.
        server: Which one; its URL.
        scraped: Whether its metrics page could be read.
        in_flight: Requests admitted and not yet answered in full.
        running: Requests that are generating.
        waiting: Requests that wait for a place in the batch.
        kv_cache_used: Share of the KV cache in use, 0 to 1.
        stages: Triton's own metrics, by model.
        cpu_cores: CPU time that its processes used since the sample before, in cores; None unless it runs here.
        memory_bytes: Resident memory of its processes, summed; pages that they share count in each.
        gpus: The GPUs that it says it has, else those of this machine, if it runs here.
    """

    at_s: float
    server: str
    scraped: bool
    in_flight: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache_used: float | None = None
    stages: dict[str, StageSample] = {}
    cpu_cores: float | None = None
    memory_bytes: int | None = None
    gpus: tuple[GpuSample, ...] = ()

    @property
    def queue_ms(self) -> float | None:
        """Mean wait in Triton's queues, added up over the models; None if they took nothing."""
        waits = [stage.queue_ms for stage in self.stages.values() if stage.queue_ms is not None]
        return sum(waits) if waits else None


def encode_server_sample(sample: ServerSample) -> bytes:
    """One line of server.jsonl, without its end."""
    return msgspec.json.encode(sample)


def decode_server_sample(line: bytes) -> ServerSample:
    """Read a line of server.jsonl.

    Raises:
        msgspec.ValidationError: it is no sample.
    """
    return msgspec.json.decode(line, type=ServerSample)
