"""The fake server's HTTP side: generate, generate_stream, health, metadata and metrics."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from nemotron_client._contract import CALLER_HEADER, Tensor
from nemotron_client.testing._player import Faulted, Values
from nemotron_client.testing._replies import Fault
from nemotron_client.testing._service import DESCRIPTION, Arrival, Service, metrics_page, unknown_model

_JSON, _EVENTS, _TEXT = "application/json", "text/event-stream; charset=utf-8", "text/plain"
_GARBAGE = "<html>no JSON</html>"
_POLL_S = 0.02
_STATUSES = {
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "UNAVAILABLE": 503,
}
_ONE_RESPONSE = (
    "generate expects model to produce exactly 1 response, use generate stream for model that generates various "
    "number of responses"
)
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "BOOL": (bool, "Unable to parse 'data': attempt to access JSON non-boolean as boolean"),
    "BYTES": (str, "Unable to parse JSON bytes array: attempt to access JSON non-string as string"),
    "FP16": ((int, float), "Unable to parse 'data': attempt to access JSON non-number as double"),
    "FP32": ((int, float), "Unable to parse 'data': attempt to access JSON non-number as double"),
    "INT32": (int, "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"),
    "UINT64": (int, "Unable to parse 'data': attempt to access JSON non-unsigned-integer as unsigned-integer"),
}


class HttpFront:
    """Listens on a port of 127.0.0.1, until `stop`.

    Attributes:
        port: The port.
    """

    def __init__(self, service: Service, port: int) -> None:
        self._server = _Server(service, port)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="nemotron-fake-http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the connections and all threads. The service is closed already, so nothing waits."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.end_connections()


class _Server(HTTPServer):
    """One thread a connection, each of which can be ended."""

    request_queue_size = 128

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self._connections: dict[threading.Thread, Any] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="nemotron-fake-http", daemon=True
        )
        self._connections[thread] = request
        thread.start()

    def end_connections(self) -> None:
        for thread, connection in list(self._connections.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            # The client may leave in the middle of anything.
            with contextlib.suppress(OSError):
                self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)
            del self._connections[threading.current_thread()]


class _FrontError(Exception):
    """What Triton's HTTP front refuses by itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        service = self.server.service
        script = service.script
        match self.path.strip("/").split("/"):
            case ["v2"]:
                self._reply(200, _JSON, json.dumps(DESCRIPTION))
            case ["v2", "health", "live"]:
                self._reply(200, _TEXT, "")
            case ["v2", "health", "ready"]:
                self._reply(200 if script.ready else 400, _TEXT, "")
            case ["v2", "models", model, "ready"] if service.is_ready(model):
                self._reply(200, _TEXT, "")
            case ["v2", "models", _, "ready"]:
                self._reply(400, _TEXT, _error_json("Model version not ready"))
            case ["metrics"]:
                self._reply(200, _TEXT, metrics_page(script))
            case _:
                self._reply(404, _TEXT, _error_json("Not Found"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        match self.path.strip("/").split("/"):
            case ["v2", "models", model, "generate"]:
                answer = self._generate
            case ["v2", "models", model, "generate_stream"]:
                answer = self._stream
            case _:
                self._reply(404, _TEXT, _error_json("Not Found"))
                return
        try:
            if model not in self.server.service.models:
                raise _FrontError(404, unknown_model(model))
            answer(model, _parsed(body))
        except _FrontError as refused:
            self._reply(refused.status, _JSON, _error_json(str(refused)))

    def _generate(self, model: str, given: dict[str, Any]) -> None:
        request_id = given.get("id", "")
        try:
            responses = list(self.server.service.begin(self._arrival(model, given)).responses)
        except Faulted as end:
            self._fail(end.fault, model, request_id, _JSON)
            return
        one = _response_json(model, request_id, responses[0]) if len(responses) == 1 else _error_json(_ONE_RESPONSE)
        self._reply(200, _JSON, one)

    def _stream(self, model: str, given: dict[str, Any]) -> None:
        request_id, begun = given.get("id", ""), False
        try:
            for values in self.server.service.begin(self._arrival(model, given)).responses:
                if not begun:
                    self._head(200, _EVENTS)
                    begun = True
                self._chunk(_event(_response_json(model, request_id, values)))
        except Faulted as end:
            self._fail(end.fault, model, request_id, _EVENTS, begun=begun)
        else:
            self._chunk("")

    def _arrival(self, model: str, given: dict[str, Any]) -> Arrival:
        """The request that a JSON body holds.

        Raises:
            _FrontError: an input of another type.
            Faulted: what is no input.
        """
        known, _ = self.server.service.models[model]
        fields = {name: value for name, value in given.items() if name not in ("id", CALLER_HEADER)}
        inputs = {name: _input(known[name], value) for name, value in fields.items() if name in known}
        for name, value in fields.items():
            if name not in known:
                _refuse_parameter(name, value)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Arrival(model, given.get("id", ""), inputs, headers)

    def _fail(self, fault: Fault, model: str, request_id: str, content_type: str, *, begun: bool = False) -> None:
        if fault.kind == "close":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault.kind == "garbage":
            status, text = 200, _GARBAGE
        else:
            status = _STATUSES.get(fault.status, 400) if fault.kind == "status" else 400
            message = fault.message_about(request_id, model) if fault.kind == "error" else fault.message
            text = _error_json(message)
        # A model's errors come as events, those of the front as JSON alone, while there is a head to say so.
        if content_type == _EVENTS and (begun or fault.kind == "garbage" or (fault.kind == "error" and fault.status)):
            if not begun:
                self._head(status, _EVENTS)
            self._chunk(_event(text))
            self._chunk("")
        else:
            self._reply(status, _JSON, text)

    def _reply(self, status: int, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: int, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, text: str) -> None:
        """Part of a body; an empty one ends it."""
        body = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise _FrontError(500, f"failed to parse the request JSON buffer: {error}") from None
    if not isinstance(given, dict):
        raise _FrontError(500, "attempt to get members for non-object")
    return given


def _input(tensor: Tensor, value: Any) -> Any:
    """A scalar or a list; a JSON scalar is also a list of one."""
    values = value if isinstance(value, list) else [value]
    kinds, message = _KINDS[tensor.dtype]
    for one in values:
        # A bool is an int to Python, but not to JSON.
        if not isinstance(one, kinds) or (isinstance(one, bool) and kinds is not bool):
            raise _FrontError(500, message)
    if tensor.is_list:
        return values
    if len(values) != 1:
        raise _FrontError(400, "input batch size does not match other inputs for 'ensemble'")
    return values[0]


def _refuse_parameter(name: str, value: Any) -> None:
    if not isinstance(value, (bool, int, str)):
        message = f"parameter '{name}' has invalid type. It should be either 'int', 'bool', or 'string'."
        raise _FrontError(400, message)
    raise Faulted(Fault.invalid(f"{name}: this model has no such input; docs/requests.md lists those there are"))


def _response_json(model: str, request_id: str, values: Mapping[str, Any]) -> str:
    about: Values = {"model_name": model, "model_version": "1"} | ({"id": request_id} if request_id else {})
    # One value is no list to Triton.
    shown = {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in values.items()}
    return json.dumps(about | shown, ensure_ascii=False, sort_keys=True)


def _error_json(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


def _event(data: str) -> str:
    return f"data: {data}\n\n"
