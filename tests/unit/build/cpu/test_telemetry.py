"""OpenVINO's reports about its use: none are sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

CODE = """\
import sys, threading
import nemotron_build.cpu.to_openvino
import openvino, openvino_genai, openvino.tools.ovc as ovc
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
assert type(ovc.telemetry).__module__ == "openvino.tools.ovc.telemetry_stub"
assert threading.active_count() == 1
"""


def test_importing_openvino_reports_nothing() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=180)
