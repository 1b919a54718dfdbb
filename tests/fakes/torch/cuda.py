"""One GPU."""

from __future__ import annotations


def is_available() -> bool:
    return True


def get_device_name(device: int) -> str:
    assert device == 0
    return "NVIDIA H100 80GB HBM3"
