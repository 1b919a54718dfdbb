"""Reads TOML: scenarios and SLOs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from nemotron_loadtest.errors import ScenarioError


def read_toml(path: Path, what: str, *, otherwise: str) -> tuple[str, dict[str, Any]]:
    """The text of a file, and what stands in it.

    Args:
        path: The file.
        what: It is to be, for the errors.
        otherwise: What may be named in the place of a file, for the errors.

    Raises:
        ScenarioError: no such file, or it is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}, expected {what} in TOML, or {otherwise}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: it is not UTF-8 text, expected {what} in TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: it is not TOML: {error}") from None
    except RecursionError:
        raise ScenarioError(f"{path}: it is nested too deeply, expected {what} in TOML") from None
