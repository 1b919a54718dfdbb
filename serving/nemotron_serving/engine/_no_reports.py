"""Keeps OpenVINO from reporting its use. To be imported before it.

When it is imported, OpenVINO sends an event to Google Analytics. A server tells nobody anything; without this module
OpenVINO takes its own stub.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
