"""What callers and the log get when something goes wrong in a model, with a stand-in for Triton's own module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nemotron_serving.errors import EngineError, InvalidRequestError, UnavailableError

FINAL = 1


class Refused(Exception):
    """What Triton would get: the message and the code of an error."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message.encode().decode(), code)  # as C++ takes it: not every text of Python's is UTF-8


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`nemotron_serving.stages.triton` as a model's process imports it."""
    pb_utils: Any = ModuleType("triton_python_backend_utils")
    pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL = FINAL
    pb_utils.TritonError = Refused
    for code in ("INVALID_ARG", "UNAVAILABLE", "INTERNAL"):
        setattr(Refused, code, code)
    pb_utils.InferenceResponse = lambda error: error.args
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", pb_utils)
    monkeypatch.delitem(sys.modules, "nemotron_serving.stages.triton", raising=False)
    yield importlib.import_module("nemotron_serving.stages.triton")
    sys.modules.pop("nemotron_serving.stages.triton", None)


class Request:
    """One request: its id as bytes, and what was sent for it."""

    def __init__(self, client_id: bytes = b"1", sender_fails: bool = False) -> None:
        self.sent: list[tuple[Any, int]] = []
        self._id = client_id
        self._sender_fails = sender_fails

    def request_id(self) -> str:
        return self._id.decode()

    def get_response_sender(self) -> Any:
        if self._sender_fails:
            raise RuntimeError("no sender")
        return SimpleNamespace(send=lambda response, flags: self.sent.append((response, flags)))


def raising(error: Exception) -> Any:
    def respond(_: Request) -> Any:
        raise error

    return respond


UNEXPECTED = "unexpected error, see the server's log (INTERNAL)"
ERRORS: list[tuple[Exception, bytes, tuple[str, str]]] = [
    (InvalidRequestError("top_k", "no"), b"1", ("top_k: no (INVALID_ARGUMENT)", "INVALID_ARG")),
    (UnavailableError("full"), b"\xff", ("full (UNAVAILABLE)", "UNAVAILABLE")),
    (EngineError("burnt"), b"a\nb", (r"request 'a\nb': burnt (INTERNAL)", "INTERNAL")),
    (EngineError("burnt"), b"\xed\xa0\x80", ("request with an id that is not UTF-8: burnt (INTERNAL)", "INTERNAL")),
    (KeyError("/a/path"), b"1", (f"request '1': {UNEXPECTED}", "INTERNAL")),
    (RecursionError("deep"), b"\xff", (f"request with an id that is not UTF-8: {UNEXPECTED}", "INTERNAL")),
    (EngineError("burnt"), b"i" * 5000, (f"request '{'i' * 256}': burnt (INTERNAL)", "INTERNAL")),
    (InvalidRequestError("a", "x" * 5000), b"1", (f"a: {'x' * 1997}… (INVALID_ARGUMENT)", "INVALID_ARG")),
    (InvalidRequestError("a", "\ud800"), b"1", (r"a: \ud800 (INVALID_ARGUMENT)", "INVALID_ARG")),
]


@pytest.mark.parametrize(("error", "client_id", "expected"), ERRORS, ids=[str(n) for n in range(len(ERRORS))])
def test_whatever_is_raised_becomes_the_requests_own_answer(
    models: Any, error: Exception, client_id: bytes, expected: tuple[str, str]
) -> None:
    good, bad = Request(), Request(client_id)
    respond = raising(error)
    answers = models.answer([good, bad], lambda request: "fine" if request is good else respond(request))
    assert answers == ["fine", expected]
    models.answer_later(
        [bad, good], lambda request: request.sent.append(("fine", 0)) if request is good else respond(0)
    )
    assert (bad.sent, good.sent) == ([(expected, FINAL)], [("fine", 0)])


def test_an_answer_that_cannot_be_delivered_stops_no_other(models: Any, caplog: pytest.LogCaptureFixture) -> None:
    lost, good = Request(b"lost", sender_fails=True), Request()
    models.answer_later([lost, good], raising(UnavailableError("full")))
    assert good.sent == [(("full (UNAVAILABLE)", "UNAVAILABLE"), FINAL)]
    assert "request 'lost': error not delivered" in caplog.text


@pytest.mark.parametrize("texts", [[], [b""], [b"Hi"], [b"a", b"", "กิ".encode(), b"\0\xff" * 100], [b"x"] * 4096])
@pytest.mark.usefixtures("models")
def test_texts_are_read_as_they_were_written(texts: list[bytes]) -> None:
    assert read_texts(texts).reshape([1, len(texts)]).tolist() == [texts]


@pytest.mark.usefixtures("models")
def test_of_too_many_texts_only_the_number_is_known() -> None:
    array = read_texts([b"a"] * 5000).reshape([1, 5000])
    assert (array.shape, array.dtype, array.strides) == ((1, 5000), np.object_, (0, 0))


def read_texts(texts: list[bytes]) -> Any:
    """A tensor's texts as Triton's stub asks for them."""
    encoded = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return sys.modules["triton_python_backend_utils"].deserialize_bytes_tensor(np.frombuffer(encoded, np.uint8))
