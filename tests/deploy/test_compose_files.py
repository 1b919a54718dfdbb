"""What the files of deploy/compose say, read by Compose itself. Nothing is started."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nemotron_serving.launcher.supervise import longest_stop_s
from tests.deploy.composing import COMPOSE, DESK_FILE, FILE, GPU_FILE, compose, rendered
from tests.deploy.tools import tool

SERVICES = {"replica-1", "replica-2", "envoy", "prometheus", "alertmanager", "grafana"}
REPLICAS = ("replica-1", "replica-2")
# To look up what tags stand for takes a registry. docs/deploy/compose.md says how to do it.
WAIVED = {"CL-0019"}
# Code that is compiled in /tmp has to be loaded from there.
WAIVED_WITH_GPUS = {"CL-0022"}

ALL_FILES = [
    pytest.param((FILE,), id="alone"),
    pytest.param((FILE, GPU_FILE), id="gpu"),
    pytest.param((FILE, DESK_FILE), id="desk"),
    pytest.param((FILE, GPU_FILE, DESK_FILE), id="gpu-desk"),
]


def options(service: dict[str, Any]) -> dict[str, str]:
    """Of nemotron-serve."""
    return dict(word.removeprefix("--").split("=", 1) for word in service["command"] if word.startswith("--"))


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found, duration
    return 60 * int(found[1] or 0) + int(found[2] or 0)


@pytest.mark.parametrize("files", ALL_FILES)
def test_every_service_is_hardened(files: tuple[Path, ...]) -> None:
    services = rendered(*files)["services"]
    assert set(services) == SERVICES
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["user"].partition(":")[0]) > 0, name
        assert int(service["mem_limit"]) > 0, name
        assert float(service["cpus"]) > 0, name
        assert int(service["pids_limit"]) > 0, name
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name
        assert service["healthcheck"]["test"], name
        assert not {"pid", "ipc", "network_mode", "userns_mode"} & set(service), name


@pytest.mark.parametrize("files", ALL_FILES)
def test_images_are_pinned_to_a_version(files: tuple[Path, ...]) -> None:
    for name, service in rendered(*files)["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), name


@pytest.mark.parametrize("files", ALL_FILES)
def test_what_is_mounted_from_this_machine_cannot_be_written_to(files: tuple[Path, ...]) -> None:
    for name, service in rendered(*files)["services"].items():
        for volume in service.get("volumes", ()):
            assert volume["type"] == "volume" or volume["read_only"] is True, (name, volume)


def test_envoy_alone_is_published_and_on_loopback() -> None:
    services = rendered(FILE)["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"envoy"}
    assert {(port["host_ip"], port["target"]) for port in published["envoy"]} == {
        ("127.0.0.1", 8080),
        ("127.0.0.1", 8001),
    }


def test_another_address_is_envoys_alone() -> None:
    services = rendered(FILE, DESK_FILE, variables={"NEMOTRON_BIND": "192.0.2.1"})["services"]
    published = {name: {port["host_ip"] for port in service.get("ports", ())} for name, service in services.items()}
    desk = {name: {"127.0.0.1"} for name in ("prometheus", "alertmanager", "grafana")}
    assert published == {**{name: set() for name in REPLICAS}, **desk, "envoy": {"192.0.2.1"}}


def test_replicas_and_monitoring_have_no_way_out() -> None:
    config = rendered(FILE)
    open_networks = {name for name, network in config["networks"].items() if not network.get("internal")}
    with_a_way_out = {name for name, one in config["services"].items() if open_networks & set(one["networks"])}
    assert with_a_way_out == {"envoy"}


@pytest.mark.parametrize("files", [(FILE,), (FILE, GPU_FILE)], ids=["alone", "gpu"])
def test_the_grace_period_holds_the_drain(files: tuple[Path, ...]) -> None:
    services = rendered(*files)["services"]
    for name in REPLICAS:
        given = options(services[name])
        delay, drain = float(given["drain-delay-seconds"]), float(given["drain-seconds"])
        assert delay >= 3, "Envoy looks once a second"
        needed = longest_stop_s(delay, drain, front="openai-port" in given)
        assert seconds(services[name]["stop_grace_period"]) == needed


def test_replicas_are_stopped_before_envoy() -> None:
    services = rendered(FILE)["services"]
    for name in REPLICAS:
        assert "envoy" in services[name]["depends_on"]
    assert not services["envoy"].get("depends_on")


def test_with_gpus_each_replica_has_one_of_its_own() -> None:
    services = rendered(FILE, GPU_FILE)["services"]
    devices = [services[name]["deploy"]["resources"]["reservations"]["devices"] for name in REPLICAS]
    assert devices == [[{"driver": "nvidia", "device_ids": [number], "capabilities": ["gpu"]}] for number in ("0", "1")]
    assert {tuple(services[name]["tmpfs"]) for name in REPLICAS} == {("/tmp:exec,size=8g,mode=1777",)}  # noqa: S108
    others = SERVICES - set(REPLICAS)
    assert not any("devices" in json.dumps(services[name]) for name in others)
    assert {services[name]["image"] for name in REPLICAS} == {"nemotron-triton:0.2.0-gpu"}
    assert all(services[name]["command"] == rendered(FILE)["services"][name]["command"] for name in REPLICAS)


def test_other_gpus_can_be_named() -> None:
    services = rendered(FILE, GPU_FILE, variables={"NEMOTRON_GPU_1": "GPU-8f2c", "NEMOTRON_GPU_2": "5"})["services"]
    named = [services[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for name in REPLICAS]
    assert named == [["GPU-8f2c"], ["5"]]


def test_without_a_package_compose_says_what_is_missing() -> None:
    done = compose([FILE], "config", "--quiet", variables={})
    assert done.returncode != 0
    assert "NEMOTRON_PACKAGE" in done.stderr
    assert "docs/deploy/compose.md" in done.stderr


def test_no_secret_is_in_the_files() -> None:
    config = rendered(FILE)
    assert all(Path(secret["file"]).parent == COMPOSE for secret in config["secrets"].values())
    assert not [name for name in ("grafana-password", "keys") if (COMPOSE / name).exists() and tracked(COMPOSE / name)]


def tracked(path: Path) -> bool:
    done = subprocess.run(["git", "ls-files", str(path)], cwd=COMPOSE, capture_output=True, text=True, check=True)
    return bool(done.stdout)


@pytest.mark.parametrize("files", ALL_FILES)
def test_the_linter_finds_nothing_else(files: tuple[Path, ...], tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(json.dumps(rendered(*files)), encoding="utf-8")
    done = subprocess.run(
        [tool("compose-lint"), "check", "--format", "json", "compose.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)["findings"]
    waived = WAIVED | (WAIVED_WITH_GPUS if GPU_FILE in files else set())
    assert {finding["rule_id"] for finding in findings} == waived, [one["message"] for one in findings]
