"""Scenario files."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario.scenario import Scenario

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_scenario(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        ScenarioError: no such file, no TOML, or a field that does not exist or has another type.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Scenario)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}, expected a scenario in TOML") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{path}: {error}") from None
