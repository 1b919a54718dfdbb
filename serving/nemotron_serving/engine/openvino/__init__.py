"""The `openvino` engine. Importing this, or any module in it, keeps OpenVINO from reporting its use.

When it is imported, OpenVINO sends an event to Google Analytics, from a thread and a forked process that an exit may
wait for without end. A server and a build tell nobody anything; with the entry below OpenVINO takes its own stub.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
