"""What is wrong with a call is said before anything is sent: there is no server at this address."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, Options, Timeouts, Tls
from nemotron_client._contract import DTYPES
from nemotron_client._request import cancel_call, chat_call, generate_call
from nemotron_client._settings import Settings

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"qqq": 2}, TypeError, r"'qqq' is no option: expected one of bad_words, .*, top_p$"),
        ({"max_token": 5}, TypeError, r"'max_token' is no option: did you mean max_tokens\?"),
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


def test_an_environment_variable_without_a_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_URL", " ")
    with pytest.raises(ValueError, match="NEMOTRON_URL is ' ', expected a URL like grpc://"):
        Client()


def test_a_client_is_shown_with_its_servers() -> None:
    with Client(["grpc://127.0.0.1:1", "http://[::1]:2"]) as client:
        assert repr(client) == "Client('grpc://127.0.0.1:1', 'http://[::1]:2')"


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ftp://x' was given, expected one of grpc://"):
        Client("ftp://x")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tools": object()}, TypeError, "tools: object was given, expected a list"),
        ({"stop_words": ["a", "\ud800"]}, ValueError, "stop_words: character 0 is half of a surrogate pair"),
        ({"request_id": 5}, TypeError, "request_id: int was given, expected str"),
        ({"stop_words": ["a", 1]}, TypeError, "stop_words: int was given, expected str"),
    ],
    ids=["tools", "surrogate", "request_id", "stop_words"],
)
def test_so_it_is_for_a_raw_prompt(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with Client("grpc://127.0.0.1:1") as client:
        for call in (client.generate, client.stream_generate):
            with pytest.raises(error, match=message):
                call("Hi", **options)


def test_text_that_is_not_unicode_is_not_repeated_in_the_error() -> None:
    with Client("grpc://127.0.0.1:1") as client, pytest.raises(ValueError, match="messages: character") as caught:
        client.chat([{"role": "user", "content": "secret \ud800"}])
    assert "secret" not in repr(caught.value)


def test_every_option_is_a_tensor() -> None:
    assert Options.__annotations__.keys() - DTYPES.keys() == {"request_id"}
    sent = chat_call(HI, {}).inputs.keys() | generate_call("Hi", {}).inputs.keys() | cancel_call("x", {}).inputs.keys()
    assert sent == {"messages", "raw_prompt", "stop", "stream", "text_input"}
    assert sent <= DTYPES.keys()


def test_what_is_sent() -> None:
    options = {"stop_words": ["END"], "logit_bias": {5: -1.5}, "seed": None, "bad_words": [], "request_id": "mine"}
    call = chat_call(HI, options)
    assert (call.model, call.request_id) == ("ensemble", "mine")
    assert call.inputs == {
        "messages": '[{"role": "user", "content": "Hi"}]',
        "stream": True,
        "stop_words": ["END"],
        "logit_bias": '{"5": -1.5}',
    }
    assert "logprobs" not in call.outputs
    assert "logprobs" in chat_call(HI, {"return_log_probs": True}).outputs
    assert generate_call("<s>", {}).inputs == {"text_input": "<s>", "raw_prompt": True, "stream": True}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"compression": "zip"}, ValueError, "compression: 'zip' was given, expected 'gzip' or None"),
        ({"headers": "token"}, TypeError, "headers: str was given, expected a mapping or a function"),
        ({"url": []}, ValueError, "url: nothing was given"),
    ],
    ids=["compression", "headers", "url"],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(error, match=message):
            kind(**settings)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"authorization": b"s3cret"}, TypeError),
        ({"authorization": "s3cret\n"}, ValueError),
        ({"authorization": "s3cret\r\nx: y"}, ValueError),
        ({"authorization": "s3crét"}, ValueError),
        ({"authorization": " s3cret"}, ValueError),
        ({"authorization: s3cret": ""}, ValueError),
    ],
    ids=repr,
)
def test_a_wrong_header_is_named_without_its_value(scheme: str, headers: Any, error: type[Exception]) -> None:
    with Client(f"{scheme}://127.0.0.1:1", headers=headers) as client:
        for call in (lambda: client.chat(HI), client.is_ready, client.server_info, lambda: client.cancel("x")):
            with pytest.raises(error, match=r"headers: ('authorization'|a name)") as caught:
                call()
            assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "grpc://me:s3cret@host:1",
        "http://me:s3cret@host:1",
        "ftp://me:s3cret@host:1",
        "http://host?s3cret",
        "http://host/#s3cret",
        "grpc://host:99999",
        "http://host:99999",
        "grpc://host:1/path",
        "grpc://host",
        "grpc://:1",
    ],
)
def test_a_url_that_is_none_of_a_server_is_refused(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=r"^url: .* was given, expected .*://HOST:PORT") as caught:
            kind(url)
        assert ":s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["grpc://host:1/", "grpcs://host", "https://host/llm/a", "http://[::1]:8000", "http://h"]
)
def test_a_url_that_may_be_one_is_taken(url: str) -> None:
    for kind in (Client, AsyncClient):
        assert kind(url).urls == (url,)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_files_for_tls_are_looked_at_at_once(scheme: str, tmp_path: Path) -> None:
    junk = str(tmp_path / "junk.pem")
    Path(junk).write_text("junk")
    for kind in (Client, AsyncClient):
        for tls in (Tls(ca=str(tmp_path / "missing.pem")), Tls(ca=junk), Tls(cert=junk, key=junk)):
            with pytest.raises(ValueError, match=r"^tls: .* in PEM format in .*\.pem"):
                kind(f"{scheme}://127.0.0.1:1", tls=tls)


def test_what_is_said_is_not_shown() -> None:
    call = replace(chat_call([{"role": "user", "content": "s3cret"}], {}), headers={"authorization": "s3cret"})
    assert "s3cret" not in repr(call)
    assert "s3cret" not in repr(Settings(Timeouts(), 0, {"authorization": "s3cret"}, None))


def test_the_environment_names_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEMOTRON_URL", raising=False)
    assert Client().urls == ("grpc://127.0.0.1:8001",)
    monkeypatch.setenv("NEMOTRON_URL", "grpc://a:1, http://b:2")
    assert Client().urls == AsyncClient().urls == ("grpc://a:1", "http://b:2")
