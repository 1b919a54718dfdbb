"""instructor, with openai 2.x: typed answers in each of its modes, and partial ones while they are written."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import instructor
import openai
from checking import MODEL_URL, SMALL_MODEL, run_checks
from instructor.core import IncompleteOutputException, InstructorRetryException
from pydantic import BaseModel

ASKED: list[Any] = [{"role": "user", "content": "Describe the capital of France."}]


class Capital(BaseModel):
    """The capital of a country."""

    city: Literal["Paris", "London", "Rome"]
    is_large: bool


def client(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=f"{MODEL_URL}/v1", api_key="none"), mode=mode)


def typed(mode: instructor.Mode) -> None:
    reply = client(mode).create(
        model=SMALL_MODEL, messages=ASKED, response_model=Capital, max_tokens=200, max_retries=0
    )
    assert isinstance(reply, Capital)


def check_tools() -> None:
    typed(instructor.Mode.TOOLS)


def check_strict_tools() -> None:
    typed(instructor.Mode.TOOLS_STRICT)


def check_json_schema() -> None:
    typed(instructor.Mode.JSON_SCHEMA)


def check_json() -> None:
    """Whose grammar is any JSON object: whether a small model fills in the right one is its own affair."""
    own = openai.OpenAI(base_url=f"{MODEL_URL}/v1", api_key="none")
    seen: list[Any] = []
    asking = instructor.from_openai(own, mode=instructor.Mode.JSON)
    asking.on("completion:response", seen.append)
    with contextlib.suppress(InstructorRetryException):
        asking.create(model=SMALL_MODEL, messages=ASKED, response_model=Capital, max_tokens=60, max_retries=0)
    assert seen[0].choices[0].message.content.lstrip().startswith("{")


def check_partial() -> None:
    parts = list(
        client(instructor.Mode.TOOLS).create_partial(
            model=SMALL_MODEL, messages=ASKED, response_model=Capital, max_tokens=200
        )
    )
    assert isinstance(parts[-1].is_large, bool)
    assert parts[-1].city in ("Paris", "London", "Rome")


def check_half_an_answer() -> None:
    try:
        client(instructor.Mode.TOOLS).create(
            model=SMALL_MODEL, messages=ASKED, response_model=Capital, max_tokens=3, max_retries=0
        )
    except IncompleteOutputException:
        return
    raise AssertionError("half an answer was read")


run_checks(globals())
