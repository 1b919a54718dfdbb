"""The tiny checkpoint of the tests that do without torch."""

from tests.unit.build.cpu.conftest import convert, tiny

__all__ = ["convert", "tiny"]
