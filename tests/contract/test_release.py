"""What a release must agree on with itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import nemotron_serving

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_there_is_one_version() -> None:
    assert nemotron_serving.__version__ == PROJECT["version"]


def test_the_changelog_begins_with_that_version() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].split()[1] == PROJECT["version"]


def test_the_licence_is_there() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
