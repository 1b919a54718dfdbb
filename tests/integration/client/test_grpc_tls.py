"""Certificates: a server's own, a client's, and those that do not fit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nemotron_client import NemotronError, Tls, TlsError
from tests.integration.client.conftest import HI, Connect
from tests.integration.conftest import Server, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


def certificate(directory: Path, name: str) -> tuple[str, str]:
    """A certificate that has signed itself, and its key."""
    files = str(directory / f"{name}.crt"), str(directory / f"{name}.key")
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", files[1], "-out", files[0], *subject],
        check=True,
        capture_output=True,
    )
    return files


Pair = tuple[str, str]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificate(tmp_path_factory.mktemp("own"), "own")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificate(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def package(simulated_package: Callable[..., Path]) -> Path:
    return simulated_package()


@pytest.fixture(scope="module")
def server(package: Path, own: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(package, tmp_path_factory.mktemp("tls"), "--tls-cert", own[0], "--tls-key", own[1]) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(package: Path, own: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ["--tls-cert", own[0], "--tls-key", own[1], "--tls-ca", own[0]]
    with serving(package, tmp_path_factory.mktemp("mtls"), *options) as server:
        yield server


def test_a_server_with_a_certificate_that_is_trusted(server: Server, own: Pair, connect: Connect) -> None:
    assert server.grpc_url.startswith("grpcs://")
    assert connect(server.grpc_url, tls=Tls(ca=own[0])).chat(HI, max_tokens=2).usage.output_tokens == 2


def test_a_server_that_is_not_trusted(server: Server, stranger: Pair, connect: Connect) -> None:
    for tls in (None, Tls(ca=stranger[0])):
        with pytest.raises(TlsError, match="argument `tls`") as caught:
            connect(server.grpc_url, tls=tls).chat(HI)
        assert caught.value.url == server.grpc_url


def test_both_sides_show_certificates(mutual: Server, own: Pair, connect: Connect) -> None:
    tls = Tls(ca=own[0], cert=own[0], key=own[1])
    assert connect(mutual.grpc_url, tls=tls).chat(HI, max_tokens=2).usage.output_tokens == 2


def test_a_client_that_is_not_trusted(mutual: Server, own: Pair, stranger: Pair, connect: Connect) -> None:
    """What the server objects to is not told to the client in every version of TLS."""
    for tls in (Tls(ca=own[0]), Tls(ca=own[0], cert=stranger[0], key=stranger[1])):
        with pytest.raises(NemotronError):
            connect(mutual.grpc_url, tls=tls, max_retries=0).chat(HI)


def test_speaking_plainly_to_a_server_with_tls(server: Server, connect: Connect) -> None:
    with pytest.raises(NemotronError):
        connect(server.grpc_url.replace("grpcs", "grpc"), max_retries=0, timeouts=3).chat(HI)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="cert and key belong together"):
        Tls(cert="a.crt")
