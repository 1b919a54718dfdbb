"""The unit of deploy/systemd, read by systemd's own checks. It is not started: systemd would have to run here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from nemotron_serving.launcher.supervise import longest_stop_s
from tests.deploy.tools import DEPLOY, tool
from tests.integration.conftest import BIN

UNIT = DEPLOY / "systemd" / "nemotron-serve.service"
MOST_EXPOSURE = 20  # tenths; systemd calls up to 2.0 OK, and a unit without any of it has 9.6


def settings(text: str) -> dict[str, str]:
    joined = re.sub(r"\\\n\s*", "", text)
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", joined, re.MULTILINE))


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with programs that are on this machine."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/nemotron/bin/", "/usr/bin/true /"), encoding="utf-8")
    return path


def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    done = subprocess.run([tool("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr


def test_it_is_hardly_exposed(unit: Path) -> None:
    command = [str(tool("systemd-analyze")), "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_stop_has_the_time_of_the_drain() -> None:
    found = settings(UNIT.read_text(encoding="utf-8"))
    drain = re.search(r"--drain-seconds (\d+)", found["ExecStart"])
    delay = re.search(r"--drain-delay-seconds (\d+)", found["ExecStart"])
    assert drain is not None
    front = "--openai-port" in found["ExecStart"]
    needed = longest_stop_s(float(delay[1]) if delay else 0, float(drain[1]), front=front)
    assert int(found["TimeoutStopSec"]) == needed
    assert found["KillMode"] == "mixed"


@pytest.mark.parametrize(("program", "quoted"), [("nemotron-serve", False), ("nemotron-front", True)])
def test_its_options_are_there(program: str, quoted: bool) -> None:
    start = settings(UNIT.read_text(encoding="utf-8"))["ExecStart"]
    (of_front,) = re.findall(r'"(.*?)"', start)
    given = re.findall(r"--[a-z-]+", of_front if quoted else start.replace(of_front, ""))
    text = subprocess.run([BIN / program, "--help"], capture_output=True, text=True, check=True).stdout
    assert given
    assert [option for option in given if option not in text] == []
