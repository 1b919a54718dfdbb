"""The CPU target: safetensors or GGUF to the files that OpenVINO serves."""

import sys

# When it is imported, OpenVINO reports its use to Google Analytics, from a thread and a forked process that an exit
# may wait for without end. A build tells nobody anything; without this module OpenVINO takes its own stub.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
