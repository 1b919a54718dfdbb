"""What both gRPC transports share: channel settings, requests, responses and errors of Triton's protocol.

Only the protobuf messages of tritonclient are used, not its clients.
"""

from __future__ import annotations

import functools
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from tritonclient.grpc import service_pb2

from nemotron_client import _defaults
from nemotron_client._contract import CALLER_HEADER, DTYPES, FIRST_OUTPUTS, OCCASIONAL_OUTPUTS, PREPROCESSING_OUTPUTS
from nemotron_client._errors import NemotronError, from_status
from nemotron_client._transports.base import Call, Connection, Tls
from nemotron_client._transports.identity import client_context, user_agent

SERVICE = "/inference.GRPCInferenceService"
STREAM = f"{SERVICE}/ModelStreamInfer"
# The smallest that gRPC takes for the time between two tries to connect. Retries are paced by this client.
_RECONNECT_MS = 100
_FORMATS = {"BOOL": "?", "FP16": "e", "FP32": "f", "INT32": "i", "INT64": "q", "UINT64": "Q"}


def target(url: str) -> str:
    """The address in a URL, as gRPC wants it."""
    return urlsplit(url).netloc


def channel_options(connection: Connection) -> list[tuple[str, Any]]:
    """The settings of a channel."""
    options = [
        ("grpc.primary_user_agent", user_agent()),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", round(1000 * _defaults.RETRY_FIRST_DELAY_S)),
        ("grpc.keepalive_time_ms", round(1000 * connection.keepalive_time_s)),
        ("grpc.keepalive_timeout_ms", round(1000 * connection.keepalive_timeout_s)),
        # Where gRPC has sent a ping of its own, it waits for that one's answer, for a minute by default.
        ("grpc.http2.ping_timeout_ms", round(1000 * connection.keepalive_timeout_s)),
        ("grpc.http2.max_pings_without_data", 0),
        # Channels to one address would share a connection, and with it the certificates of the first.
        ("grpc.use_local_subchannel_pool", 1),
        # As over HTTP: proxies of the environment are for browsers.
        ("grpc.enable_http_proxy", 0),
        # gRPC's own retries would be hidden ones on top of ours.
        ("grpc.enable_retries", 0),
    ]
    if connection.connect_timeout_s is not None:
        # In spite of its name this is also how long one try to connect may take.
        options.append(("grpc.min_reconnect_backoff_ms", max(1, round(1000 * connection.connect_timeout_s))))
    return options


def credentials(tls: Tls | None) -> Any:
    """Channel credentials from files.

    Raises:
        ValueError: a file that cannot be read, or holds no certificate or key.
    """
    tls = tls or Tls()
    # gRPC itself would log what is wrong with a file and then find no server.
    client_context(tls, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    ca, key, cert = (None if path is None else Path(path).read_bytes() for path in (tls.ca, tls.key, tls.cert))
    return grpc.ssl_channel_credentials(ca, key, cert)


def is_secure(url: str) -> bool:
    """Whether the URL asks for TLS."""
    return urlsplit(url).scheme == "grpcs"


def metadata(headers: Mapping[str, str], caller: str = "") -> tuple[tuple[str, str], ...]:
    """Headers as gRPC takes them.

    Args:
        headers: The call's headers.
        caller: Whose the call is, where the headers say nothing else.
    """
    own = {CALLER_HEADER: caller} if caller else {}
    return tuple((own | dict(headers)).items())


def compression(name: str | None) -> Any:
    """The compression of this name, in gRPC's words."""
    return grpc.Compression.Gzip if name else None


def infer_request(call: Call) -> Any:
    """A ModelInferRequest; each input becomes a tensor of shape [1, n]."""
    request = service_pb2.ModelInferRequest(model_name=call.model, id=call.request_id)
    for name, value in call.inputs.items():
        add_input(request, name, value)
    for name in call.outputs:
        request.outputs.add(name=name)
    return request


def add_input(request: Any, name: str, value: Any) -> None:
    """Add a tensor of shape [1, n] to a ModelInferRequest."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    request.inputs.add(name=name, datatype=DTYPES[name], shape=(1, len(values)))
    request.raw_input_contents.append(encode(DTYPES[name], values))


def encode(dtype: str, values: Sequence[Any]) -> bytes:
    """The values of a tensor as Triton's protocol has them."""
    if dtype == "BYTES":
        encoded = [text.encode() for text in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    return struct.pack(f"<{len(values)}{_FORMATS[dtype]}", *values)


def decode(dtype: str, raw: bytes) -> list[Any]:
    """The values of a tensor that `encode` has made, or another client."""
    if dtype != "BYTES":
        return [value for (value,) in struct.iter_unpack(f"<{_FORMATS[dtype]}", raw)]
    texts, begin = [], 0
    while begin < len(raw):
        (size,) = struct.unpack_from("<I", raw, begin)
        texts.append(raw[begin + 4 : begin + 4 + size].decode())
        begin += 4 + size
    return texts


class OutputReader:
    """Reads the responses to one call.

    All have the same outputs, so what is to be read where is found out once; and most are as in the response before.
    How many there are tells the first response, which has some more, from the others. Only where an output was asked
    for that is in some of these, each response is asked for its names, which takes as long as to read them.
    """

    def __init__(self, call: Call) -> None:
        self._varies = not (OCCASIONAL_OUTPUTS - FIRST_OUTPUTS).isdisjoint(call.outputs)
        self._names: list[str] = []
        self._plan: list[tuple[str, Callable[[bytes], Any]]] = []
        self._raw: list[bytes] = []
        self._values: dict[str, Any] = {}

    def __call__(self, response: Any) -> dict[str, Any]:
        """The outputs of a ModelInferResponse as Python values: scalars, but for what preprocessing has a list of."""
        raw = list(response.raw_output_contents)
        if len(raw) != len(self._plan) or (
            self._varies and self._names != [output.name for output in response.outputs]
        ):
            self._plan = [(output.name, _decoder(output.name, output.datatype)) for output in response.outputs]
            self._names = [name for name, _ in self._plan]
            self._raw = [b""] * len(self._plan)
            self._values = {}
        values = self._values.copy()
        for (name, decode), new, old in zip(self._plan, raw, self._raw, strict=True):
            if new != old:
                values[name] = decode(new)
        self._raw, self._values = raw, values
        return values


def described(server: Any, config: Any) -> dict[str, Any]:
    """See `Transport.metadata`.

    Args:
        server: A ServerMetadataResponse.
        config: The ensemble's ModelConfigResponse; None if it could not be had.
    """
    parameters = config.config.parameters.items() if config else ()
    return {
        "name": server.name,
        "version": server.version,
        "extensions": list(server.extensions),
        "parameters": {name: value.string_value for name, value in parameters},
    }


def no_answer(call: Call, url: str) -> NemotronError:
    """For a call that is waited for no longer."""
    return from_status("DEADLINE_EXCEEDED", "", request_id=call.request_id, url=url)


def rpc_error(error: Any, request_id: str, url: str) -> NemotronError:
    """The typed error for a call that gRPC has ended."""
    return from_status(error.code().name, error.details() or "", request_id=request_id, url=url)


def _decoder(name: str, datatype: str) -> Callable[[bytes], Any]:
    tensor = PREPROCESSING_OUTPUTS.get(name)
    return functools.partial(decode, datatype) if tensor is not None and tensor.is_list else _DECODERS[datatype]


def _text(raw: bytes) -> str:
    return raw[4:].decode()  # after its length


def _number(letter: str) -> Callable[[bytes], Any]:
    unpack = struct.Struct(f"<{letter}").unpack_from
    return lambda raw: unpack(raw)[0]


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "BYTES": _text,
    **{dtype: _number(letter) for dtype, letter in _FORMATS.items()},
}
