"""Envoy in front of replicas, as a program on this machine, with the configuration that docs/balancers.md shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.integration.conftest import ROOT, Server
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).parent / "envoy"
PAGE = ROOT / "docs" / "balancers.md"
START_S = 30
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Balancer:
    """A running Envoy.

    Attributes:
        address: Where callers connect.
        admin: Where it says how it is.
        endpoints: The file with its replicas.
    """

    address: str
    admin: str
    endpoints: Path

    @property
    def url(self) -> str:
        return f"grpc://{self.address}"

    def set_replicas(self, replicas: Sequence[Server]) -> None:
        """Have these and no others, and wait until calls go to each of them."""
        _write_replicas(self.endpoints, replicas)
        wait_until(lambda: self.chosen() >= {replica.grpc_address for replica in replicas}, START_S)

    def chosen(self) -> set[str]:
        """Addresses of the replicas that calls go to."""
        return {_address(host) for host in self._hosts() if host["health_status"] == {"eds_health_status": "HEALTHY"}}

    def active(self) -> dict[str, int]:
        """How many calls each replica has, by its address."""
        return {
            _address(host): next(int(one.get("value", 0)) for one in host["stats"] if one["name"] == "rq_active")
            for host in self._hosts()
        }

    def _hosts(self) -> list[dict[str, Any]]:
        (cluster,) = _read(self.admin, "/clusters?format=json")["cluster_statuses"]
        return list(cluster.get("host_statuses", ()))


@contextlib.contextmanager
def balancing(replicas: Sequence[Server], directory: Path, changes: dict[str, str] | None = None) -> Iterator[Balancer]:
    """Envoy in front of these replicas until the block ends, whatever happens in it.

    Args:
        replicas: Those that it has first.
        directory: For its files; empty.
        changes: Lines of the configuration, and what stands in their place.
    """
    endpoints = directory / "replicas.yaml"
    _write_replicas(endpoints, replicas)
    with running(_configuration(endpoints, changes or {}), directory) as (address, admin):
        balancer = Balancer(address, admin, endpoints)
        balancer.set_replicas(replicas)
        yield balancer


@contextlib.contextmanager
def running(configuration: str, directory: Path) -> Iterator[tuple[str, str]]:
    """Envoy with this configuration until the block ends, whatever happens in it: where it listens, and its admin."""
    assert PROGRAM.exists(), f"{PROGRAM} is missing: run 'make setup-envoy' first"
    config, log, admin = directory / "envoy.yaml", directory / "envoy.log", directory / "admin"
    config.write_text(configuration)
    command = [PROGRAM, "--config-path", config, "--admin-address-path", admin, "--log-path", log]
    options = ["--disable-hot-restart", "--concurrency", "2"]
    process = subprocess.Popen([*map(str, command), *options], stderr=subprocess.DEVNULL)
    try:
        listening: list[Any] = []

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                listening[:] = _read(admin.read_text(), "/listeners?format=json").get("listener_statuses", ())
            return bool(listening)

        wait_until(listens, START_S)
        yield _address({"address": listening[0]["local_address"]}), admin.read_text()
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _blocks() -> tuple[str, str]:
    """Of the page: the configuration, and the file with the replicas."""
    configuration, replicas = _BLOCK.findall(PAGE.read_text())
    return configuration, replicas


def _configuration(endpoints: Path, changes: dict[str, str]) -> str:
    text, _ = _blocks()
    ours = {
        "/etc/envoy/replicas.yaml": str(endpoints),
        "port_value: 9901": "port_value: 0",
        "port_value: 8001": "port_value: 0",
    }
    for old, new in (ours | changes).items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {PAGE}"
        text = text.replace(old, new)
    return text


def _write_replicas(path: Path, replicas: Sequence[Server]) -> None:
    """Write the file and move it to its place, for Envoy sees that alone."""
    head, begin, endpoint = _blocks()[1].partition("          - endpoint")
    text = head
    for replica in replicas:
        grpc, health = urlsplit(replica.grpc_url), urlsplit(replica.info["health_url"])
        one = begin + endpoint.replace("10.0.0.1", str(grpc.hostname))
        text += one.replace("port_value: 8001", f"port_value: {grpc.port}").replace("8003", str(health.port))
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def _address(host: dict[str, Any]) -> str:
    address = host["address"]["socket_address"]
    return f"{address['address']}:{address['port_value']}"


def _read(admin: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{admin}{path}", timeout=10) as response:
        value: dict[str, Any] = json.load(response)
    return value
