"""The `tensorrt_llm` engine."""
