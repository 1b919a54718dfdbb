"""The public surface is `__all__`, sorted; everything else is private."""

from __future__ import annotations

import types

import nemotron_client


def test_all_is_what_is_public() -> None:
    public = [
        name
        for name, value in vars(nemotron_client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == nemotron_client.__all__


def test_everything_public_is_documented() -> None:
    assert [name for name in nemotron_client.__all__ if not getattr(nemotron_client, name).__doc__] == []
