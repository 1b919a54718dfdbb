"""Stand-ins for libraries that are not installed here. `importable` lets code that imports them find them."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("tensorrt_llm", "torch", "transformers")


@contextlib.contextmanager
def importable() -> Iterator[Any]:
    """The fake tensorrt_llm. Afterwards it and what it stands beside are gone again."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _NAMES}
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        yield importlib.import_module("tensorrt_llm")
    finally:
        sys.path.remove(str(Path(__file__).parent))
        for name in [name for name in sys.modules if name.partition(".")[0] in _NAMES]:
            del sys.modules[name]
        sys.modules.update(hidden)
