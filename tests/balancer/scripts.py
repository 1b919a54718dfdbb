"""Scripts of the simulated engine that differ from those that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.conftest import ROOT

SHIPPED = ROOT / "build" / "nemotron_build" / "simulated_scripts.json"


def write_scripts(path: Path, marker: str, **fields: Any) -> Path:
    """Write them to a file, which is returned, with other fields of the script for prompts with this marker."""
    scripts = json.loads(SHIPPED.read_text(encoding="utf-8"))
    (script,) = (one for one in scripts if one["match"] == rf"\[sim:{marker}\]")
    assert script.keys() >= fields.keys()
    script |= fields
    path.write_text(json.dumps(scripts), encoding="utf-8")
    return path
