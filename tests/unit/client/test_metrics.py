"""Prometheus' text becomes numbers."""

from __future__ import annotations

import pytest

from nemotron_client import Client, ServerUnavailableError
from nemotron_client._probes import metrics_url, parse
from tests.unit.client.http_peer import PeerConnection, peer, refusing_address

PAGE = r"""# HELP nv_inference_count Number of inferences
# TYPE nv_inference_count counter
nv_inference_count{model="ensemble",version="1"} 12
nv_inference_count{model="a \"b\" \\ c",version="1"} 3.5
up 1
missing{} NaN
"""


def test_a_page_is_read() -> None:
    metrics = parse(PAGE)
    assert metrics["nv_inference_count"] == [
        ({"model": "ensemble", "version": "1"}, 12.0),
        ({"model": 'a "b" \\ c', "version": "1"}, 3.5),
    ]
    assert metrics["up"] == [({}, 1.0)]
    assert [labels for labels, _ in metrics["missing"]] == [{}]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("grpc://host:8001", "http://host:8002/metrics"),
        ("https://host/path", "http://host:8002/metrics"),
        ("grpcs://[::1]:9", "http://[::1]:8002/metrics"),
    ],
)
def test_the_page_is_on_the_same_host_by_default(url: str, expected: str) -> None:
    assert metrics_url(url, named=True) == expected


def test_a_page_that_is_not_there_is_said() -> None:
    with (
        Client("grpc://127.0.0.1:1", metrics_url="http://127.0.0.1:1/metrics") as client,
        pytest.raises(ServerUnavailableError, match="pass `metrics_url`"),
    ):
        client.metrics()


@pytest.mark.parametrize(
    "data", [b"\0\0\x12\x04\0\0", b"HTTP/1.0 200 OK\r\n\r\nup \xff\n", b"HTTP/1.0 200 OK\r\n\r\nup high\n"]
)
def test_a_page_that_is_none_is_said(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(connection: PeerConnection) -> None:
        connection.socket.recv(65536)
        connection.send(data)

    with peer(other) as there, refusing_address() as proxy:
        monkeypatch.setenv("http_proxy", proxy)  # which is not used
        with (
            Client("grpc://127.0.0.1:1", metrics_url=f"{there.url}/metrics") as client,
            pytest.raises(ServerUnavailableError, match="it is no metrics page"),
        ):
            client.metrics()


def test_the_environment_names_the_page_of_the_server_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_METRICS_URL", "http://127.0.0.1:9/metrics")
    with Client() as client, pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:9/"):
        client.metrics()
    assert metrics_url("grpc://elsewhere:8001", named=True) == "http://elsewhere:8002/metrics"
