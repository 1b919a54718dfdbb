"""That what the other tests of this directory run is what the lock and the Makefile name."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.deploy.tools import NODE_MODULES, ROOT, tool

LOCKED = dict(
    re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements-deploy.lock").read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("package", ["checkov", "compose-lint", "helm-python-sdk", "kubernetes-validate"])
def test_the_environment_holds_what_is_locked(package: str) -> None:
    program = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([tool("python"), "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == LOCKED[package]


@pytest.mark.parametrize("name", ["syft", "hadolint", "kubectl", "docker-compose", "node"])
def test_a_program_of_the_environment_is_found_before_one_of_the_machine(name: str) -> None:
    assert tool(name).is_relative_to(ROOT)


@pytest.mark.parametrize("name", ["podman", "buildah", "promtool", "amtool", "netavark", "debootstrap", "skopeo"])
def test_a_program_of_the_machine_runs(name: str) -> None:
    assert subprocess.run([tool(name), "--version"], capture_output=True, check=False).returncode == 0


def test_types_of_custom_resources_are_there() -> None:
    assert {path.name for path in (NODE_MODULES / "@kubernetes-models").iterdir()} >= {
        "gateway-api",
        "keda",
        "prometheus-operator",
    }


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program is missing: run 'make setup-deploy'"):
        tool("no-such-program")
