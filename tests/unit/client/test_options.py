"""What is wrong with a call is said before anything is sent: there is no server at this address."""

from __future__ import annotations

from typing import Any

import pytest

from nemotron_client import Client

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 2}, TypeError, r"'n' is no option, expected one of bad_words, .*, top_p$"),
        ({"stop": True}, TypeError, "'stop' is no option"),
        ({"stream": True}, TypeError, "'stream' is no option"),
        ({"messages": "x"}, TypeError, "messages"),
        ({"max_tokens": "5"}, TypeError, r"max_tokens: str was given, expected int"),
        ({"max_tokens": 2**40}, ValueError, r"max_tokens: 1099511627776 was given, expected"),
        ({"thinking": 1}, TypeError, "thinking: int was given, expected bool"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with Client("grpc://127.0.0.1:1") as client:
        for call in (client.chat, client.stream_chat):
            with pytest.raises(error, match=message):
                call(HI, **options)


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ftp://x' was given, expected one of grpc://"):
        Client("ftp://x")
