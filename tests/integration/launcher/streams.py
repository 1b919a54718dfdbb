"""A gRPC stream to the tiny model, as any client of Triton would open it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tritonclient.grpc as triton


class Stream:
    """The responses of one request."""

    def __init__(self) -> None:
        self.received: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

    def first(self) -> None:
        """Wait for the first response."""
        _, error = self.received.get(timeout=60)
        assert error is None, error

    def end(self, timeout: float) -> tuple[int, Exception | None]:
        """Wait for the end. Returns how many responses came meanwhile, and the error if it was one."""
        count = 0
        while True:
            result, error = self.received.get(timeout=timeout)
            if error is not None:
                return count, error
            if result.get_response().parameters["triton_final_response"].bool_param:
                return count, None
            count += 1


@contextmanager
def open_stream(address: str, max_tokens: int) -> Iterator[Stream]:
    """Ask for `max_tokens` responses, one each 50 ms."""
    stream = Stream()
    client = triton.InferenceServerClient(address)
    inputs = [
        _tensor("text_input", np.array([["Hi"]], dtype=np.object_), "BYTES"),
        _tensor("max_tokens", np.array([[max_tokens]], dtype=np.int32), "INT32"),
        _tensor("stream", np.array([[True]]), "BOOL"),
    ]
    client.start_stream(lambda result, error: stream.received.put((result, error)))
    try:
        client.async_stream_infer("ensemble", inputs, enable_empty_final_response=True)
        yield stream
    finally:
        client.stop_stream(cancel_requests=True)
        client.close()


def _tensor(name: str, value: np.ndarray[Any, Any], dtype: str) -> Any:
    tensor = triton.InferInput(name, value.shape, dtype)
    tensor.set_data_from_numpy(value)
    return tensor
