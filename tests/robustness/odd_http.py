"""Odd requests over HTTP, each made from a `random.Random`: the bytes that are sent, and what to expect."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import zlib
from dataclasses import dataclass
from typing import Any

from tests.robustness.odd_values import (
    KEY,
    MARK,
    MODELS,
    OPENS,
    OUTPUTS,
    SMALL_SHAPES,
    WEIGHTS,
    inputs_of,
    odd_json,
    odd_name,
    raw_values,
    value_of,
)

_METHODS = ("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "FOO", "post", "")
_PATHS = (
    "/",
    "/v2",
    "/v2/",
    "//v2//models//ensemble",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/ensemble",
    "/v2/models/ensemble/ready",
    "/v2/models/ensemble/versions/1/ready",
    "/v2/models/ensemble/versions/99999999999999999999/generate",
    "/v2/models/ensemble/config",
    "/v2/models/tensorrt_llm/stats",
    "/v2/models/stats",
    "/v2/models/ensemble/trace/setting",
    "/v2/trace/setting",
    "/v2/logging",
    "/v2/repository/index",
    "/v2/repository/models/ensemble/load",
    "/v2/repository/models/ensemble/unload",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/a/register",
    "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/status",
    "/v2/models/../../../../etc/passwd",
    "/v2/models/%2e%2e%2f%2e%2e/generate",
    "/v2/models/ensemble%00/generate",
    "/v2/models/ensemble/generate?a=b&c=%ff#x",
    "/v2/models/" + "a" * 20_000 + "/generate",
    "/%",
    "*",
    "http://example.com/v2",
    "/metrics",
)
_HEADERS = (
    "Content-Length: 99999999999999999999",
    "Content-Length: -1",
    "Content-Length: 0",
    "Transfer-Encoding: gzip, chunked",
    "Content-Encoding: gzip",
    "Content-Encoding: deflate",
    "Content-Encoding: br",
    "Accept-Encoding: gzip, deflate, br;q=0",
    "Inference-Header-Content-Length: 10",
    "Inference-Header-Content-Length: -1",
    "Inference-Header-Content-Length: 99999999999",
    "Inference-Header-Content-Length: x",
    "Expect: 100-continue",
    "Connection: upgrade",
    "Upgrade: h2c",
    "nemotron-admin-key: guessed",
    "triton_grpc_error: true",
    "Host: \xff\xfe",
    "No colon here",
    "X: " + "v" * 60_000,
    "\r\n".join(f"H{n}: {n}" for n in range(500)),
    "Content-Type: text/html; charset=utf-7",
    "Range: bytes=0-1",
)


@dataclass(frozen=True)
class HttpRequest:
    """What is sent on a connection of its own.

    Attributes:
        sent: All of it.
        complete: Whether a server has to answer or to close: it is well-formed, as far as HTTP goes.
        leaves_after_s: When the caller leaves without having read; None reads to the end.
    """

    sent: bytes
    complete: bool = True
    leaves_after_s: float | None = None

    def on_session(self, key: str) -> HttpRequest:
        """The same with this key in place of `KEY`."""
        return dataclasses.replace(self, sent=self.sent.replace(KEY.encode(), key.encode()))

    @property
    def patient(self) -> bool:
        """Whether an answer has to come: the caller does not leave before."""
        return self.complete and self.leaves_after_s is None

    def __str__(self) -> str:
        return f"HTTP {len(self.sent)} bytes: {self.sent[:700]!r}"


def odd_http_request(rng: random.Random) -> HttpRequest:
    """Any request: most ask a model, with an odd value rather than with odd HTTP."""
    kind = rng.random()
    leaves = rng.choice((0, 0.002, 0.03, 0.2)) if rng.random() < 0.03 else None
    if kind < 0.08:
        return _odd_path(rng)
    (model,) = rng.choices(MODELS, WEIGHTS)
    way = rng.choice(("generate", "generate", "generate_stream", "infer"))
    if way == "infer":
        body, headers = _infer_body(rng, rng.choice(("unary", "unary", "preprocessing", model)))
        model = "unary" if rng.random() < 0.7 else model
    else:
        body, headers = _generate_body(rng, model, way), []
    path = f"/v2/models/{model}/{way}"
    if kind < 0.85:
        made = HttpRequest(_with_length("POST", path, headers, body), leaves_after_s=leaves)
    else:
        made = _odd_http(rng, path, headers, body)
    return dataclasses.replace(made, leaves_after_s=0.1) if OPENS in body else made


def _odd_path(rng: random.Random) -> HttpRequest:
    method = rng.choice(("GET", "POST", *_METHODS))
    body = rng.choice((b"", b"{}", odd_json(rng).encode()))
    return HttpRequest(_with_length(method, rng.choice(_PATHS), [], body), complete=bool(method) and method != "HEAD")


def _odd_http(rng: random.Random, path: str, headers: list[str], body: bytes) -> HttpRequest:
    """Half requests, chunks, encodings, lengths that lie, several in one."""
    whole = _with_length("POST", path, headers, body)
    how = rng.choice(("half", "chunked", "bad chunk", "encoded", "header", "twice", "old", "junk", "short", "method"))
    if how == "half":
        return HttpRequest(whole[: rng.randrange(len(whole))], complete=False)
    if how == "chunked":
        return HttpRequest(_chunked(path, headers, body, rng.choice((1, 100, 5000))))
    if how == "bad chunk":
        data = _chunked(path, headers, body, 100).replace(
            b"\r\n64\r\n", rng.choice((b"\r\nzz\r\n", b"\r\n-1\r\n", b"\r\nffffffffff\r\n"))
        )
        return HttpRequest(data, complete=False)
    if how == "encoded":
        packed = rng.choice(
            (gzip.compress(body), zlib.compress(body), gzip.compress(body)[:-9], b"\x1f\x8b" + body, body)
        )
        name = rng.choice(("gzip", "deflate", "br", "identity"))
        return HttpRequest(_with_length("POST", path, [*headers, f"Content-Encoding: {name}"], packed))
    if how == "header":
        return HttpRequest(_with_length("POST", path, [*headers, rng.choice(_HEADERS)], body), complete=False)
    if how == "twice":
        return HttpRequest(whole * rng.choice((2, 5)), complete=False)
    if how == "old":
        return HttpRequest(
            whole.replace(b"HTTP/1.1", rng.choice((b"HTTP/1.0", b"HTTP/0.9", b"HTTP/9.9", b"X"))), complete=False
        )
    if how == "junk":
        junk = (
            rng.randbytes(300),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n" * 1000,
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
            b"\0",
        )
        return HttpRequest(rng.choice(junk), complete=False)
    if how == "short":
        at = whole.index(b"\r\n\r\n") + 4
        return HttpRequest(whole[:at] + body + b"more than was said", complete=False)
    return HttpRequest(_with_length(rng.choice(_METHODS), path, headers, body), complete=False)


def _with_length(method: str, path: str, headers: list[str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1", "replace") + body


def _chunked(path: str, headers: list[str], body: bytes, size: int) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "Connection: close"]
    size = max(size, len(body) // 200)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1", "replace") + b"".join(
        b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""]
    )


def _generate_body(rng: random.Random, model: str, way: str) -> bytes:
    body: dict[str, Any] = {}
    for tensor in inputs_of(rng, model):
        value = _json_value(value_of(rng, tensor))
        body[tensor.name] = [value] * rng.choice((0, 1, 2)) if -1 in tensor.dims else value
        if rng.random() < 0.04:
            body[tensor.name] = rng.choice((None, [], {}, [[]], "5", 5, 5.5, True, 10**40, [value, value]))
    if way == "generate_stream" and rng.random() < 0.7:
        body["stream"] = True
    if rng.random() < 0.2:
        body["id"] = rng.choice((f"{rng.getrandbits(64):x}", "", "a" * 300, "a\0b", 5, None, ["a"]))
    if rng.random() < 0.1:
        body[odd_name(rng)] = rng.choice((1, "x", None, [1], {"a": 1}, True, 0.5))
    return _odd_text(rng, json.dumps(body, ensure_ascii=rng.random() < 0.5))


def _odd_text(rng: random.Random, text: str) -> bytes:
    """The body, now and then not JSON, or not UTF-8: in a value or in a key."""
    data = text.encode(errors="surrogatepass")
    if rng.random() > 0.1:
        return data
    at = rng.randrange(1, len(data) + 1)
    return rng.choice(
        (
            data[:at],
            data[:at] + rng.choice((b"\xff", b"\xed\xa0\x80", b"\0", b'"', b"}")) + data[at:],
            b"",
            b"[" * 3000,
            b'{"text_input":' * 3000,
            odd_json(rng).encode(),
            data[:-1] + b',"\xff":1}',
            data[:-1] + b',"id":"\xed\xa0\x80"}',
            data[:-1] + b',"text_input":"a","text_input":"b"}',
            data + data,
            b"\xef\xbb\xbf" + data,
            data.decode(errors="replace").encode("utf-16"),
        )
    )


def _infer_body(rng: random.Random, model: str) -> tuple[bytes, list[str]]:
    """A body for /infer, with its tensors as JSON or, behind it, as bytes."""
    inputs, behind = [], b""
    for tensor in inputs_of(rng, model):
        datatype = "BYTES" if tensor.dtype == "STRING" else tensor.dtype
        value = value_of(rng, tensor)
        one: dict[str, Any] = {"name": tensor.name, "datatype": datatype, "shape": [1] * (1 + len(tensor.dims))}
        if rng.random() < 0.08:
            # No larger ones: they end Triton 2.51, see test_known_killers.py.
            one["shape"] = rng.choice((*SMALL_SHAPES, None, "1", [0.5], [[1]]))
        if rng.random() < 0.04:
            one["datatype"] = rng.choice(("INT32", "BYTES", "FP16", "", None, 5))
        if rng.random() < 0.3:
            raw = raw_values(datatype, [value])
            size = len(raw) if rng.random() < 0.9 else rng.choice((0, -1, len(raw) + 1, 2**62, "x"))
            one["parameters"] = {"binary_data_size": size}
            behind += raw
        else:
            one["data"] = rng.choice(([_json_value(value)], _json_value(value), [[_json_value(value)]]))
        if rng.random() < 0.02:
            one["parameters"] = {"shared_memory_region": odd_name(rng), "shared_memory_byte_size": 4}
        inputs.append(one)
    body: dict[str, Any] = {"inputs": inputs if rng.random() > 0.02 else rng.choice((None, {}, [None], 5))}
    if rng.random() < 0.15:
        body["id"] = rng.choice(("1", "", "a\0b", 5, MARK * 20))
    if rng.random() < 0.2:
        # No classification of texts: that ends Triton 2.51, see test_known_killers.py.
        outputs = rng.choices(OUTPUTS[model], k=2)
        body["outputs"] = [
            {"name": one.name, "parameters": rng.choice(({"binary_data": True}, {"shared_memory_region": "a"}, {}))}
            for one in outputs
        ]
    if rng.random() < 0.1:
        body["parameters"] = {odd_name(rng): rng.choice((1, "x", None, [1], True, 0.5)), "binary_data_output": True}
    head = _odd_text(rng, json.dumps(body))
    if not behind:
        return head, []
    said = len(head) if rng.random() > 0.05 else rng.choice((0, -1, len(head) + len(behind) + 1, 2**63))
    return head + behind, [f"Inference-Header-Content-Length: {said}"]


def _json_value(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
