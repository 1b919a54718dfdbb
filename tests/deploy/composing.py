"""Compose with the files of deploy/compose."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.tools import DEPLOY, tool

COMPOSE = DEPLOY / "compose"
FILE = COMPOSE / "compose.yaml"
GPU_FILE = COMPOSE / "compose.gpu.yaml"
DESK_FILE = COMPOSE / "compose.desk.yaml"
OF_USERS = ("NEMOTRON_", "GRAFANA_", "PROMETHEUS_", "ALERTMANAGER_", "COMPOSE_")


def compose(
    files: Sequence[Path], *arguments: str, variables: Mapping[str, str], timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """`docker compose ARGUMENTS` on these files, whatever it ends with; variables of the user's own are left out."""
    command = [str(tool("docker-compose")), *(part for file in files for part in ("--file", str(file))), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_USERS)}
    return subprocess.run(
        command, env={**kept, **variables}, capture_output=True, text=True, timeout=timeout, check=False
    )


def rendered(*files: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What Compose makes of them."""
    return _rendered(files, tuple(sorted({"NEMOTRON_PACKAGE": "/srv/package", **(variables or {})}.items())))


@functools.cache
def _rendered(files: Sequence[Path], variables: Sequence[tuple[str, str]]) -> dict[str, Any]:
    done = compose(files, "config", "--format", "json", variables=dict(variables))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
