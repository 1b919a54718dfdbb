"""Who comes from openai-python is told what to say here: by the errors, and by the page, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nemotron_client import AsyncClient, Client, Options
from nemotron_client._request import OPENAI_OPTIONS

PAGE = Path(__file__).parents[3] / "docs" / "client" / "migrate-from-openai.md"


@pytest.mark.parametrize("name", OPENAI_OPTIONS)
def test_an_option_of_openai_is_answered_with_what_to_do(name: str) -> None:
    assert name not in Options.__annotations__
    options: Any = {name: 1}
    with Client("grpc://127.0.0.1:1") as client:
        with pytest.raises(TypeError, match=f"^'{name}' is no option: ") as caught:
            client.chat([], **options)
        assert str(caught.value).endswith(OPENAI_OPTIONS[name])


def test_the_page_says_the_same() -> None:
    rows = [line.strip("|\n ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    said = {
        name.strip("` "): row[1].replace("`", "")
        for row in rows
        if row[1].strip("`").startswith(("use ", "leave it out", "send ", "give "))
        for name in row[0].split(",")
    }
    assert said == OPENAI_OPTIONS


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_way_to_a_call_is_named(kind: type[Client] | type[AsyncClient]) -> None:
    chat: Any = kind("grpc://127.0.0.1:1").chat
    for name in ("create", "parse", "stream"):
        with pytest.raises(AttributeError, match=rf"client\.chat\.completions\.{name} .* client\.chat\(messages"):
            getattr(chat.completions, name)
