"""The engine flow."""

from __future__ import annotations

from .llm import EngineLLM as LLM

__all__ = ["LLM"]
