"""How this client names itself to servers."""

from __future__ import annotations

import functools
from importlib import metadata


@functools.cache
def user_agent() -> str:
    """`nemotron-client/VERSION`."""
    try:
        return f"nemotron-client/{metadata.version('nemotron-triton')}"
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "nemotron-client"
