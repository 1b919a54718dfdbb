"""What the models share: requests to fields and answers, errors and metrics to Triton's own.

Only Triton's Python processes can import this module: `triton_python_backend_utils` exists nowhere else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import Option, Tensor
from nemotron_serving.errors import LONGEST_TEXT, EngineError, InvalidRequestError, ServingError, told
from nemotron_serving.host import HostOptions, plain_path
from nemotron_serving.inputs import (
    MAX_ID_CHARACTERS,
    NUMPY_TYPES,
    apply_parameters,
    check_id,
    read_inputs,
    read_parameters,
)
from nemotron_serving.metrics import Metric, Recorder
from nemotron_serving.package import Package
from nemotron_serving.stages.reporting import MetricsReporter

_log = logging.getLogger(__name__)

_MOST_KEPT = 1024  # tensors of a thread, 0.3 KB each
_MOST_TEXTS = 4096  # in one tensor; the lists of texts that are supported are much shorter


def _read_texts(encoded: npt.NDArray[np.uint8]) -> Any:
    """Texts of a tensor; in place of Triton's own function, which a model's process calls before it sees a request.

    That one takes 2.5 µs an element: a message of 64 MB, all empty texts, held everybody for 40 s.

    Args:
        encoded: Each text behind its length, 4 bytes; Triton has checked that they are whole.
    """
    data, at = encoded.tobytes(), 0
    texts: list[bytes] = []
    while at < len(data):
        if len(texts) > _MOST_TEXTS:
            return _TooManyTexts()
        begin = at + 4
        at = begin + int.from_bytes(data[at:begin], "little")
        texts.append(data[begin:at])
    array = np.empty(len(texts), np.object_)
    array[:] = texts
    return array


class _TooManyTexts:
    """Stands for an array that nobody reads: only its size is looked at."""

    def reshape(self, dims: list[int]) -> npt.NDArray[Any]:
        """An array of this shape that takes no memory."""
        return np.broadcast_to(np.array(b"", np.object_), dims)


pb_utils.deserialize_bytes_tensor = _read_texts


def open_package() -> tuple[Package, HostOptions]:
    """The package to serve and the machine's options, from the environment.

    Raises:
        pb_utils.TritonModelException: with the reason; the model then fails to load.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    options = HostOptions.from_environment()
    return Package.load(plain_path(options.package)), options


class _OneLine(logging.Formatter):
    """Keeps a message on one line: a part of it may be a caller's, and must not look like a line of ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line[:LONGEST_TEXT])


def answer(requests: Iterable[Any], respond: Callable[[Any], Any]) -> list[Any]:
    """Responses to requests that are answered at once; where `respond` raises, that is what the caller is told.

    What a model raises itself would reach the callers of all requests, with the paths of the installed files.
    """
    return [_answer_to(request, respond) for request in requests]


def _answer_to(request: Any, respond: Callable[[Any], Any]) -> Any:
    try:
        return respond(request)
    except Exception as error:
        return error_response(request, error)


def answer_later(
    requests: Iterable[Any], begin: Callable[[Any], None], failed: Callable[[Exception], None] = lambda _: None
) -> None:
    """Begin requests that are answered through their response senders; see `answer`.

    Args:
        requests: Triton's requests.
        begin: Raises only for a request that it has not answered.
        failed: Gets what it has raised; must not raise itself.
    """
    for request in requests:
        try:
            begin(request)
        except Exception as error:
            failed(error)
            send_error(request, error)


def send_error(request: Any, error: Exception) -> None:
    """Answer with an error and nothing else."""
    try:
        request.get_response_sender().send(
            error_response(request, error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        )
    except Exception:
        _log.exception("request %s: error not delivered", _shown_id(request))


def request_id(request: Any) -> str:
    """The id that a caller gave its request; may be empty.

    Raises:
        InvalidRequestError: it is not UTF-8.
    """
    try:
        return str(request.request_id())
    except UnicodeDecodeError as error:
        raise InvalidRequestError("id", "not valid UTF-8") from error


def _shown_id(request: Any) -> str:
    try:
        return repr(request_id(request)[:MAX_ID_CHARACTERS])
    except InvalidRequestError:
        return "with an id that is not UTF-8"


def request_fields(request: Any, contract: tuple[Option, ...], wanted: tuple[Option, ...] = ()) -> dict[str, Any]:
    """Values of the inputs that a request holds, and of the parameters that say the same as an input.

    Args:
        request: Triton's request.
        contract: The inputs of the model.
        wanted: The inputs to read; all if it is empty.

    Raises:
        InvalidRequestError: a value that cannot be read or is not supported, a name that is no input, an id that is
            too long.
    """
    client_id = request_id(request)
    check_id(client_id)
    arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
    for name, array in arrays.items():
        if array.dtype.hasobject and array.size > _MOST_TEXTS:
            raise InvalidRequestError(name, f"{array.size} values were given, expected at most {_MOST_TEXTS}")
    fields = read_inputs(arrays, wanted or contract)
    apply_parameters(fields, _parameters(request), client_id, [tensor.name for tensor in contract])
    return fields


def _parameters(request: Any) -> dict[str, Any]:
    """All parameters: Triton takes some out of them, unless they come as keys of a body for /generate."""
    try:
        parameters: dict[str, Any] = read_parameters(request.parameters())
    except ValueError as error:  # also of bytes that are not UTF-8
        raise InvalidRequestError("parameters", "not valid JSON in UTF-8") from error
    taken_out = {
        "timeout": request.timeout(),
        "sequence_id": request.correlation_id(),
        "sequence_start": bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
        "sequence_end": bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
    }
    return parameters | {name: value for name, value in taken_out.items() if value}


def response_of(values: Mapping[str, Any], contract: tuple[Tensor, ...]) -> Any:
    """A response with these outputs.

    Args:
        values: By the name of the output: one value, or the values along its last dimension.
        contract: The outputs of the model; the other dimensions are 1.
    """
    return pb_utils.InferenceResponse(_outputs(values, contract))


def send_response(sender: Any, values: Mapping[str, Any], contract: tuple[Tensor, ...], flags: int = 0) -> None:
    """Send a response with these outputs; see `response_of`.

    Args:
        sender: Of Triton's request.
        values: See `response_of`.
        contract: See `response_of`.
        flags: Triton's; that which says whether it is the last one.
    """
    # Triton drops those that the caller did not ask for while it does not hold Python's lock. Were they not held here,
    # it would free them there, and with Python 3.12 that ends the process.
    tensors = _outputs(values, contract)
    sender.send(pb_utils.InferenceResponse(tensors), flags=flags)


def _outputs(values: Mapping[str, Any], contract: tuple[Tensor, ...]) -> list[Any]:
    return [_output(output, values[output.name]) for output in contract if output.name in values]


class _KeptTensors(threading.local):
    """Tensors that many responses have: of empty texts, states and counts. Each thread has its own.

    A tensor takes some 10 µs to make and to put into shared memory, where it stays as long as it lives; to send it
    again takes none. Two threads that send one for the first time would not be kept apart by Triton.
    """

    def __init__(self) -> None:
        self._tensors: dict[tuple[str, str | int], Any] = {}

    def get(self, output: Tensor, value: str | int) -> Any:
        tensor = self._tensors.get((output.name, value))
        if tensor is None:
            if len(self._tensors) >= _MOST_KEPT:
                self._tensors.clear()
            tensor = self._tensors[output.name, value] = _tensor(output, value)
        return tensor


_kept = _KeptTensors()


def _output(output: Tensor, value: Any) -> Any:
    recurs = isinstance(value, int) or (isinstance(value, str) and not value)
    return _kept.get(output, value) if recurs else _tensor(output, value)


def _tensor(output: Tensor, value: Any) -> Any:
    value = value.encode() if isinstance(value, str) else value
    array = np.array(value, NUMPY_TYPES[output.dtype])
    # NVIDIA's postprocessing gives this one no batch dimension, and its clients read the element as the bytes.
    ones = 0 if output.name == "text_output" else len(output.dims)
    return pb_utils.Tensor(output.name, array.reshape((1,) * ones + (-1,)))


def error_response(request: Any, error: Exception) -> Any:
    """The response that tells a caller what went wrong; an unexpected error is logged and kept from the caller."""
    if not isinstance(error, ServingError):
        _log.error("request %s failed", _shown_id(request), exc_info=error)
        error = EngineError("unexpected error, see the server's log")
    code = getattr(pb_utils.TritonError, error.triton_code)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(told(error, _shown_id(request)), code))


def report_metrics(model: str, recorder: Recorder, look: Callable[[], None] = lambda: None) -> MetricsReporter:
    """Publish a model's metrics on Triton's page; see `MetricsReporter`."""
    families: dict[str, Any] = {}
    kinds = {"counter": "COUNTER", "gauge": "GAUGE", "histogram": "HISTOGRAM"}

    def publish(metric: Metric, labels: dict[str, str]) -> _Series:
        if metric.name not in families:
            kind = getattr(pb_utils.MetricFamily, kinds[metric.kind])
            families[metric.name] = pb_utils.MetricFamily(name=metric.name, description=metric.text, kind=kind)
        return _Series(families[metric.name], labels, metric.buckets)

    return MetricsReporter(model, recorder, look, publish)


class _Series:
    """A series and its family, which has to outlive it."""

    def __init__(self, family: Any, labels: dict[str, str], buckets: tuple[float, ...]) -> None:
        self._family = family
        more = {"buckets": list(buckets)} if buckets else {}
        self._metric = family.Metric(labels=labels, **more)
        self.set, self.increment, self.observe = self._metric.set, self._metric.increment, self._metric.observe
