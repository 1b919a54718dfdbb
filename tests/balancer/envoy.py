"""The edge of deploy/envoy as a program on this machine: its configuration with other addresses, and files for EDS."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml  # type: ignore[import-untyped] # its stubs are no dependency of ours

from tests.integration.conftest import ROOT, Server
from tests.running import end
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).parent / "envoy"
CONFIGURATION = ROOT / "deploy" / "envoy" / "envoy.yaml"
KEYS = ROOT / "deploy" / "envoy" / "keys.example.yaml"
KEYS_DIRECTORY = "/etc/envoy/keys"  # in the configuration
START_S = 120
GRPC = "triton-grpc"
# Each cluster, and what of a replica's ready file is its address.
CLUSTERS = {
    GRPC: "grpc_url",
    "front": "openai_url",
    "front-by-session": "openai_url",
    "triton-http": "http_url",
    "triton-http-by-session": "http_url",
}

Config = dict[str, Any]
Change = Callable[[Config], object]
Replica = Mapping[str, str]
"""URLs, by the names that a ready file has for them."""


@dataclass(frozen=True)
class Balancer:
    """A running Envoy.

    Attributes:
        address: Where callers of gRPC connect.
        http_url: Where callers of HTTP do.
        metrics_url: Where it is asked for its metrics.
        directory: Has its files.
    """

    address: str
    http_url: str
    metrics_url: str
    directory: Path
    _admin: str

    @property
    def url(self) -> str:
        return f"grpc://{self.address}"

    @property
    def access_log(self) -> list[dict[str, Any]]:
        """Its lines so far; Envoy writes them ten times a second."""
        text = (self.directory / "access.log").read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def set_replicas(self, replicas: Sequence[Server | Replica]) -> None:
        """Have these and no others, and wait until calls go to each of them."""
        infos = [replica.info if isinstance(replica, Server) else replica for replica in replicas]
        _write_replicas(self.directory, infos)
        for cluster, name in CLUSTERS.items():
            expected = {urlsplit(info[name]).netloc for info in infos if name in info}
            wait_until(lambda cluster=cluster, expected=expected: self.chosen(cluster) >= expected, START_S)  # type: ignore[misc]

    def set_keys(self, text: str) -> None:
        """Have these keys soon."""
        _move(self.directory / "keys" / "keys.yaml", text)

    def chosen(self, cluster: str = GRPC) -> set[str]:
        """Addresses of the replicas that calls go to."""
        return {
            _address(host["address"])
            for host in self._hosts(cluster)
            if host["health_status"] == {"eds_health_status": "HEALTHY"}
        }

    def active(self) -> dict[str, int]:
        """How many calls of gRPC each replica has, by its address."""
        return {
            _address(host["address"]): next(
                int(one.get("value", 0)) for one in host["stats"] if one["name"] == "rq_active"
            )
            for host in self._hosts(GRPC)
        }

    def stat(self, name: str) -> int:
        """A counter or gauge of Envoy's own; 0 where there is none yet."""
        stats = _ask(self._admin, f"/stats?format=json&filter=^{name}$")["stats"]
        return sum(int(one["value"]) for one in stats if "value" in one)

    def _hosts(self, cluster: str) -> list[dict[str, Any]]:
        found = _ask(self._admin, "/clusters?format=json")["cluster_statuses"]
        return [host for one in found if one["name"] == cluster for host in one.get("host_statuses", ())]


@contextlib.contextmanager
def balancing(
    replicas: Sequence[Server | Replica], directory: Path, change: Change | None = None, *, keys: str | None = None
) -> Iterator[Balancer]:
    """Envoy in front of these replicas until the block ends, whatever happens in it.

    Args:
        replicas: Those that it has first.
        directory: For its files; empty.
        change: Changes the configuration, which it gets with all addresses as they are run.
        keys: What the file of the API keys says. Without it everybody may call.
    """
    _write_replicas(directory, [one.info if isinstance(one, Server) else one for one in replicas])
    config = configuration(directory)
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] in CLUSTERS:
            del cluster["load_assignment"], cluster["dns_lookup_family"]
            source = {"path_config_source": {"path": str(directory / f"{cluster['name']}.json")}}
            cluster |= {"type": "EDS", "eds_cluster_config": {"eds_config": source}}
    if keys is None:
        leave_out(config, "keys")
    else:
        (directory / "keys" / "keys.yaml").write_text(keys)
    if change is not None:
        change(config)
    with running_edge(config, directory) as balancer:
        balancer.set_replicas(replicas)
        yield balancer


@contextlib.contextmanager
def running_edge(config: Config, directory: Path) -> Iterator[Balancer]:
    """Envoy with what `configuration` gave until the block ends, whatever happens in it."""
    with _running(json.dumps(config), directory, ("grpc", "http", "metrics")) as (listening, admin):
        http, metrics = (f"http://{listening[name]}" for name in ("http", "metrics"))
        yield Balancer(listening["grpc"], http, metrics, directory, admin)


@contextlib.contextmanager
def running(configuration: str, directory: Path) -> Iterator[tuple[str, str]]:
    """Envoy with another configuration, of one listener: where it listens, and its admin."""
    with _running(configuration, directory, ()) as (listening, admin):
        yield next(iter(listening.values())), admin


@contextlib.contextmanager
def _running(text: str, directory: Path, names: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
    """Until the block ends, once listeners of these names, and one at least, can be reached: where, and the admin."""
    assert PROGRAM.exists(), f"{PROGRAM} is missing: run 'make setup-envoy' first"
    file, log, admin = directory / "envoy.yaml", directory / "envoy.log", directory / "admin"  # JSON is YAML too
    file.write_text(text)
    command = [PROGRAM, "--config-path", file, "--log-path", log, "--admin-address-path", admin]
    options = ["--disable-hot-restart", "--concurrency", "2", "--file-flush-interval-msec", "100"]
    with (directory / "access.log").open("wb") as output:
        process = subprocess.Popen([*map(str, command), *options], stdout=output, stderr=subprocess.DEVNULL)
    try:
        listening: dict[str, str] = {}

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                found = _ask(admin.read_text(), "/listeners?format=json").get("listener_statuses", ())
                listening.update({one["name"]: _address(one["local_address"]) for one in found})
            return bool(listening) and listening.keys() >= {*names} and all(map(accepts, listening.values()))

        wait_until(listens, START_S)
        yield listening, admin.read_text()
    finally:
        end(process)


def configuration(directory: Path) -> Config:
    """The configuration as it is shipped, but for where it listens and where its keys are; no part is in two places."""
    text = CONFIGURATION.read_text()
    keys = directory / "keys"
    keys.mkdir(exist_ok=True)
    shipped = yaml.safe_load(text.replace(KEYS_DIRECTORY, str(keys)))
    config: Config = json.loads(json.dumps(shipped))
    # A socket without a file: no port that another one could take, no path that may be too long.
    config["admin"]["address"] = {"pipe": {"path": f"@edge-{uuid.uuid4().hex}"}}
    (admin,) = (one for one in config["static_resources"]["clusters"] if one["name"] == "admin")
    admin["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = config["admin"]["address"]
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    return config


def manager(config: Config, listener: str) -> Config:
    """The HTTP connection manager of a listener, by the listener's name."""
    (found,) = (one for one in config["static_resources"]["listeners"] if one["name"] == listener)
    value: Config = found["filter_chains"][0]["filters"][0]["typed_config"]
    return value


def filters(config: Config, name: str) -> list[Config]:
    """The filters of this name, of each listener that has one."""
    return [
        one["typed_config"]
        for listener in config["static_resources"]["listeners"]
        for one in manager(config, listener["name"])["http_filters"]
        if one["name"] == name
    ]


def routes(config: Config) -> Iterator[Config]:
    """All routes of all listeners."""
    for listener in config["static_resources"]["listeners"]:
        for host in manager(config, listener["name"])["route_config"]["virtual_hosts"]:
            yield from host["routes"]


def leave_out(config: Config, name: str) -> None:
    """Leave out the filters of this name."""
    for listener in config["static_resources"]["listeners"]:
        one = manager(config, listener["name"])
        one["http_filters"] = [found for found in one["http_filters"] if found["name"] != name]
    for route in routes(config):
        route.get("typed_per_filter_config", {}).pop(name, None)


def accepts(address: str) -> bool:
    """Whether somebody listens there."""
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def _write_replicas(directory: Path, infos: Sequence[Replica]) -> None:
    for cluster, name in CLUSTERS.items():
        endpoints = [
            {
                "endpoint": {
                    "address": _socket_address(info[name]),
                    "health_check_config": {"port_value": urlsplit(info["health_url"]).port},
                }
            }
            for info in infos
            if name in info
        ]
        resource = {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": cluster,
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        _move(directory / f"{cluster}.json", json.dumps({"resources": [resource]}))


def _move(path: Path, text: str) -> None:
    """Write a file and move it to its place, for Envoy sees that alone."""
    new = path.with_suffix(f".new{path.suffix}")
    new.write_text(text)
    os.replace(new, path)


def _socket_address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {"socket_address": {"address": parts.hostname, "port_value": parts.port}}


def _address(address: dict[str, Any]) -> str:
    address = address["socket_address"]
    return f"{address['address']}:{address['port_value']}"


class _Admin(http.client.HTTPConnection):
    """To a socket without a file, whose name begins with @."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect("\0" + self.host)


def _ask(admin: str, path: str) -> dict[str, Any]:
    kind = _Admin if admin.startswith("@") else http.client.HTTPConnection
    with contextlib.closing(kind(admin.removeprefix("@"), timeout=60)) as connection:
        connection.request("GET", path)
        value: dict[str, Any] = json.load(connection.getresponse())
    return value
