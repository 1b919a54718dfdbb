"""The logic behind the Triton models: importable and testable without Triton."""

__version__ = "0.2.0"
