"""The CPU target: safetensors or GGUF to the files that OpenVINO serves. OpenVINO reports nobody's use to anybody."""

from nemotron_serving.engine.openvino import cpu  # noqa: F401 - with it comes what keeps OpenVINO silent
