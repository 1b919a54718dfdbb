"""deploy/compose running under podman, with stand-ins for the images that cannot be fetched."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.composing import FILE, compose
from tests.deploy.podman import BASE, IMAGE, Podman
from tests.deploy.tools import tool
from tests.waiting import wait_until

KEY = "a-key-of-the-tests"
RUN = ("replica-1", "replica-2", "envoy", "prometheus", "alertmanager")
START_S = 480
_ENVOY_USER, _PROMETHEUS_USER = 101, 65534  # of the images that they stand in for
_TEMPLATES = Path("/usr/share/prometheus/alertmanager")  # which Debian's Alertmanager reads


@dataclass(frozen=True)
class Stack:
    """A project of Compose.

    Attributes:
        podman: What runs it.
        name: Of the project.
        directory: Its keys and settings.
        variables: Of deploy/compose, and DOCKER_HOST.
    """

    podman: Podman
    name: str
    directory: Path
    variables: Mapping[str, str]

    def compose(self, *arguments: str, timeout: float = START_S) -> str:
        """`docker compose ARGUMENTS`."""
        files = [FILE, self.directory / "stand-ins.json"]
        done = compose(files, "--project-name", self.name, *arguments, variables=self.variables, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def http_url(self) -> str:
        return f"http://{self._published(8080)}"

    @property
    def grpc_url(self) -> str:
        return f"grpc://{self._published(8001)}"

    def _published(self, port: int) -> str:
        (found,) = self.inspect("envoy")["NetworkSettings"]["Ports"][f"{port}/tcp"]
        return f"{found['HostIp']}:{found['HostPort']}"

    def container(self, service: str) -> str:
        return f"{self.name}-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        return self.podman.inspect("container", self.container(service))

    def address(self, service: str) -> str:
        """Its address in one of its networks, which this machine can reach."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        return next(str(network["IPAddress"]) for network in networks.values())

    def execute(self, service: str, *command: str) -> str:
        """What a command in its container writes."""
        return self.podman.run("exec", self.container(service), *command).stdout

    def healthy(self, service: str) -> bool:
        """Run its health check, which takes systemd to be run by itself."""
        return self.podman.run("healthcheck", "run", self.container(service), check=False).returncode == 0

    def wait_ready(self, *services: str) -> None:
        """Wait until these replicas answer, and Envoy sends requests to them."""
        for service in services:
            url = f"http://{self.address(service)}:8003/ready"
            wait_until(functools.partial(_answers, url), START_S)
        wait_until(lambda: _answers(f"{self.http_url}/v1/health/ready"), START_S)

    def write_keys(self, keys: Mapping[str, str]) -> None:
        """Put another file to the place of the keys', as docs/deploy/compose.md shows."""
        directory = self.directory / "keys"
        credentials = [{"client": client, "key": key} for client, key in keys.items()]
        example = (FILE.parents[1] / "envoy" / "keys.example.yaml").read_text(encoding="utf-8")
        before, _, rest = example.partition("      credentials:\n")
        after = rest[rest.index("      # How callers send one") :]
        (directory / ".new").write_text(
            f"{before}      credentials: {json.dumps(credentials)}\n{after}", encoding="utf-8"
        )
        os.chown(directory / ".new", _ENVOY_USER, _ENVOY_USER)
        (directory / ".new").chmod(0o400)
        (directory / ".new").rename(directory / "keys.yaml")

    def processes(self) -> list[int]:
        """The first ones of its containers."""
        found = self.podman.run("ps", "--quiet", f"--filter=label={self._label}").stdout.split()
        return [int(self.podman.inspect("container", one)["State"]["Pid"]) for one in found]

    def left(self) -> list[str]:
        """Its containers, networks and volumes."""
        kinds = (
            ("ps", "--all", "--format={{.Names}}"),
            ("network", "ls", "--format={{.Name}}"),
            ("volume", "ls", "--format={{.Name}}"),
        )
        return [
            name for kind in kinds for name in self.podman.run(*kind, f"--filter=label={self._label}").stdout.split()
        ]

    @property
    def _label(self) -> str:
        return f"com.docker.compose.project={self.name}"


@contextlib.contextmanager
def standing(podman: Podman, docker_host: str, package: Path, directory: Path) -> Iterator[Stack]:
    """A project that can be brought up, until the block ends; nothing is left then.

    Args:
        podman: Has the image.
        docker_host: Its service.
        package: What the replicas serve.
        directory: For its files; empty.
    """
    name = f"nemotron-{secrets.token_hex(3)}"
    keys, password = directory / "keys", directory / "password"
    keys.mkdir(mode=0o500)
    os.chown(keys, _ENVOY_USER, _ENVOY_USER)
    password.write_text(secrets.token_hex(16), encoding="utf-8")
    images = _stand_ins(podman, directory)
    services = {service: {"image": image} for service, image in images.items()}
    (directory / "stand-ins.json").write_text(json.dumps({"services": services}), encoding="utf-8")
    variables = {
        **podman.environment,
        "DOCKER_HOST": docker_host,
        "NEMOTRON_IMAGE": IMAGE,
        "NEMOTRON_PACKAGE": str(package),
        "NEMOTRON_KEYS": str(keys),
        "NEMOTRON_MEMORY": "1500m",
        "NEMOTRON_CPUS": "1",
        "NEMOTRON_HTTP_PORT": "0",
        "NEMOTRON_GRPC_PORT": "0",
        "GRAFANA_PASSWORD_FILE": str(password),
    }
    stack = Stack(podman, name, directory, variables)
    stack.write_keys({"team": KEY})
    try:
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout=10")
        left = stack.left()
    assert left == []


def _stand_ins(podman: Podman, directory: Path) -> dict[str, str]:
    """Images with the programs of this machine, called and owned as in those that they stand in for."""
    package = importlib.util.find_spec("envoy")
    assert package is not None and package.origin, "Envoy is missing: run 'make setup-deploy' first"
    envoy = Path(package.origin).parent / "_bin" / "envoy"
    return {
        "envoy": _image(podman, directory / "envoy", {"usr/local/bin/envoy": envoy}),
        "prometheus": _image(
            podman,
            directory / "prometheus",
            {"bin/prometheus": tool("prometheus"), "bin/promtool": tool("promtool")},
            entry="/bin/prometheus",
            data="prometheus",
        ),
        "alertmanager": _image(
            podman,
            directory / "alertmanager",
            {
                "bin/alertmanager": tool("prometheus-alertmanager"),
                "bin/amtool": tool("amtool"),
                **{str(path)[1:]: path for path in _TEMPLATES.glob("*.tmpl")},
            },
            entry="/bin/alertmanager",
            data="alertmanager",
        ),
    }


def _image(podman: Podman, context: Path, files: Mapping[str, Path], entry: str = "", data: str = "") -> str:
    """Build one on the base, with these files and a directory that Prometheus' user may write to."""
    (context / "empty").mkdir(parents=True)
    lines = [f"FROM {BASE}"]
    for target, source in files.items():
        copy = context / target.replace("/", "-")
        shutil.copy(source, copy)
        lines.append(f"COPY --chmod=755 {copy.name} /{target}")
    if data:
        lines.append(f"COPY --chown={_PROMETHEUS_USER}:{_PROMETHEUS_USER} empty /{data}")
    if entry:
        lines.append(f"ENTRYPOINT [{json.dumps(entry)}]")
    (context / "Containerfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tag = f"localhost/{podman.name}-{context.name}:1"
    podman.run("build", "--quiet", "--isolation=chroot", f"--tag={tag}", f"--file={context / 'Containerfile'}", context)
    return tag


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return bool(httpx2.get(url, timeout=10).status_code == 200)
    return False
