"""The CPU target: safetensors or GGUF to the files that OpenVINO serves."""
