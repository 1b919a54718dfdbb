"""Exports of conversations, as the page writes them."""

from __future__ import annotations

from typing import Any


def message_of(identifier: str, parent: str | None, role: str = "user", **fields: Any) -> dict[str, Any]:
    whole = {"id": identifier, "conversation": "c", "parent": parent, "created": 1, "role": role, "content": "Text"}
    return whole | fields


def file_of(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    leaf = messages[-1]["id"] if messages else None
    whole = {"id": "c", "title": "By hand", "created": 1, "updated": 1, "leaf": leaf, "messages": [*messages]}
    return {"format": "nemotron-chat-export", "version": 1, "conversations": [whole | fields]}
