"""The chart's Deployment run by `podman kube play`, which knows nothing of fsGroup, probes and several replicas."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import Client
from tests.deploy.podman import IMAGE, Container, Podman
from tests.deploy.releases import render
from tests.integration.conftest import demo_package

__all__ = ["demo_package"]  # a fixture

pytestmark = pytest.mark.timeout(1800)  # what comes first makes the image

QUESTION = "What is the capital of France?"
ANSWER_S = 120
_REPOSITORY, _, _TAG = IMAGE.partition(":")
VALUES: dict[str, Any] = {
    "image": {"repository": _REPOSITORY, "tag": _TAG, "pullPolicy": "Never"},
    "gpu": {"count": 0},
    "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    # Without fsGroup a volume there belongs to root: the 64 MiB of the runtime remain.
    "sharedMemory": "",
    "server": {"drainDelaySeconds": 1, "drainSeconds": 20},
}


@contextmanager
def playing(podman: Podman, values: dict[str, Any], directory: Path) -> Iterator[Container]:
    """The server of a release with these values, once it answers."""
    release = render(VALUES | values, name=podman.name)
    manifest = directory / "deployment.yaml"
    # podman would publish them on this machine, where they may be taken.
    release.container().pop("ports")
    # It removes an init container that has ended, now and then before it knows that, unless it is told to keep it.
    release.server()["metadata"]["annotations"] = {"io.podman.annotations.init.container.type": "always"}
    manifest.write_text(release.manifest("Deployment"))
    try:
        podman.run("kube", "play", f"--network={podman.name}", manifest)
        pods = json.loads(podman.run("pod", "ps", "--format=json").stdout)
        (pod,) = [one for one in pods if one["Name"].startswith(podman.name)]
        (name,) = [one["Names"] for one in pod["Containers"] if one["Names"].endswith("nemotron-serve")]
        container = Container(podman, name, infra=str(pod["InfraId"]))
        container.wait_ready()
        yield container
    finally:
        podman.run("kube", "down", manifest, check=False)


@pytest.fixture(scope="module", params=["simulated", "claim"])
def server(
    request: pytest.FixtureRequest, podman: Podman, demo_package: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """With a package that its init container makes, and with one on a volume that is there."""
    if request.param == "simulated":
        with playing(podman, {"package": {"source": "simulated"}}, tmp_path_factory.mktemp("kube")) as container:
            yield container
        return
    claim = f"{podman.name}-claim"
    podman.run("volume", "create", "--opt=type=none", "--opt=o=bind", f"--opt=device={demo_package.parent}", claim)
    package = {"source": "claim", "claim": claim, "path": demo_package.name}
    try:
        with playing(podman, {"package": package}, tmp_path_factory.mktemp("kube")) as container:
            yield container
    finally:
        podman.run("volume", "rm", claim)


def test_it_answers(server: Container) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 4}
    request = urllib.request.Request(
        f"http://{server.address}:9000/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        assert json.load(response)["choices"][0]["message"]["content"]
    with Client(f"grpc://{server.address}:8001", timeouts=ANSWER_S) as client:
        assert client.chat([{"role": "user", "content": QUESTION}], max_tokens=4).content


def test_it_has_no_rights(server: Container) -> None:
    status = dict(re.findall(r"^(\w+):\s+(.*)$", server.execute("cat", "/proc/1/status"), re.MULTILINE))
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert (status["Uid"].split(), status["Gid"].split()) == (["1000"] * 4, ["0"] * 4)


def test_nothing_but_its_volume_for_that_can_be_written_to(server: Container) -> None:
    places = "/ /etc /home /opt/nemotron /packages /usr /tmp"
    written = server.execute("sh", "-c", f"for d in {places}; do touch $d/x 2>/dev/null && echo $d; done; true")
    assert written == "/tmp\n"  # noqa: S108 - of the container


def test_its_limits_are_the_charts(server: Container) -> None:
    limits = server.podman.inspect("container", server.name)["HostConfig"]
    assert limits["Memory"] == 2**30
    assert limits["CpuQuota"] == limits["CpuPeriod"]
    said = server.execute("nemotron-serve", "check", check=False)
    memory = re.search(r"memory +([\d.]+) of ([\d.]+) GiB", said)
    assert memory, said
    assert float(memory[2]) == pytest.approx(1, abs=0.05), said
