"""docs/client/reference.md is what the source says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import nemotron_client
from nemotron_client import testing

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_reference.py"))


def test_the_page_is_up_to_date(maker: dict[str, Any]) -> None:
    page = (DOCS / "client" / "reference.md").read_text()
    assert page == maker["reference"](), "run 'make docs'"


def test_every_public_name_has_its_place(maker: dict[str, Any]) -> None:
    lines = maker["reference"]().splitlines()
    assert [name for name in (*nemotron_client.__all__, *testing.__all__) if lines.count(f"### {name}") != 1] == []


def test_a_new_name_has_to_be_put_into_a_group(maker: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemotron_client, "__all__", [*nemotron_client.__all__, "NewError"])
    with pytest.raises(ValueError, match="NewError"):
        maker["reference"]()
