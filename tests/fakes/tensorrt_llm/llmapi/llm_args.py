"""The fields of both LLMs' arguments."""

from __future__ import annotations

from ..parameters import model_fields


class TorchLlmArgs:
    model_fields = model_fields("BaseLlmArgs", "TorchLlmArgs")


class TrtLlmArgs:
    model_fields = model_fields("BaseLlmArgs", "TrtLlmArgs")
