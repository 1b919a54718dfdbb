from __future__ import annotations

import pytest

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.seal import Seal

MESSAGE = b'{"slot":1,"number":2}'


def seal(field: str = "stream_event", secret: str = "5f" * 16) -> Seal:
    return Seal(field, secret, "tensorrt_llm")


@pytest.mark.parametrize("message", [MESSAGE, b"", "สวัสดี".encode(), bytes(range(256)) * 1000])
@pytest.mark.parametrize("beside", [b"", b"\x05\0\0\0"])
@pytest.mark.parametrize("secret", ["", "5f" * 16, "no hex text"])
def test_what_was_closed_opens_in_every_process_that_knows_the_secret(
    message: bytes, beside: bytes, secret: str
) -> None:
    assert seal(secret=secret).open(seal(secret=secret).close(message, beside), beside) == message


def test_nothing_else_opens() -> None:
    closed = seal().close(MESSAGE, b"beside")
    changed = [closed[:at] + bytes([closed[at] ^ 1]) + closed[at + 1 :] for at in range(len(closed))]
    others = [b"", MESSAGE, closed[:-1], closed + b" ", closed[1:], "ก".encode() * 40]
    others += [seal(secret="5e" * 16).close(MESSAGE, b"beside"), seal(secret="").close(MESSAGE, b"beside")]
    others += [seal("request_settings").close(MESSAGE, b"beside")]
    for sealed in changed + others:
        with pytest.raises(InvalidRequestError, match=r"^stream_event: .*passed on as the model tensorrt_llm"):
            seal().open(sealed, b"beside")
    for beside in (b"", b"besid", b"beside "):
        with pytest.raises(InvalidRequestError):
            seal().open(closed, beside)


def test_without_a_secret_the_machine_has_one_that_no_caller_knows() -> None:
    closed = seal(secret="").close(MESSAGE)
    assert MESSAGE in closed
    for sealed in (MESSAGE, b"0" * 32 + MESSAGE, seal().close(MESSAGE)):
        with pytest.raises(InvalidRequestError, match=r"^stream_event: .*passed on as the model tensorrt_llm"):
            seal(secret="").open(sealed)


def test_a_byte_cannot_be_moved_from_the_message_to_what_is_beside_it() -> None:
    closed = seal().close(MESSAGE + b"x", b"y")
    with pytest.raises(InvalidRequestError):
        seal().open(closed[:-1], b"xy")
