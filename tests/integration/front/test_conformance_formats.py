"""Forms of the answer, from the demo's model."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import jsonschema
import openai
import pytest
from pydantic import BaseModel

from tests.integration.conftest import Front
from tests.integration.front.asking import OFF, ON, Got, ask_all, user

COLOURS = ["red", "green", "blue"]
SCHEMA = {
    "type": "object",
    "properties": {"warm": {"type": "boolean"}, "colour": {"enum": COLOURS}},
    "required": ["warm", "colour"],
    "additionalProperties": False,
}
UNIQUE = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
ASK = {**user("Name a colour."), **OFF, "max_tokens": 40}
BODIES: dict[str, dict[str, Any]] = {
    "json_object": {**ASK, "n": 2, "seed": 1, "temperature": 1, "response_format": {"type": "json_object"}},
    "guided_json": {**ASK, "guided_json": SCHEMA},
    "llama.cpp": {**ASK, "response_format": {"type": "json_object", "schema": SCHEMA}},
    "choice": {**ASK, "nvext": {"guided_choice": COLOURS}},
    "regex": {**ASK, "structured_outputs": {"regex": "#[0-9a-f]{6}"}},
    "unique": {**ASK, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": UNIQUE}}},
    "unique, guided": {**ASK, "guided_json": UNIQUE},
}


class Colour(BaseModel):
    """An answer that always comes to its end."""

    warm: bool
    colour: Literal["red", "green", "blue"] | None


@pytest.fixture(scope="module")
def asked(demo_front: Front) -> dict[str, Got]:
    return ask_all(demo_front, BODIES)


@pytest.mark.parametrize("name", ["guided_json", "llama.cpp"])
def test_a_schema_is_followed(asked: dict[str, Got], name: str) -> None:
    jsonschema.validate(json.loads(asked[name].message["content"]), SCHEMA, jsonschema.Draft202012Validator)


def test_any_object_is_an_object(asked: dict[str, Got]) -> None:
    """A model may go on with it for ever, so what was cut off is looked at as well."""
    contents: dict[str, list[str]] = {"stop": [], "length": []}
    for choice in asked["json_object"].json["choices"]:
        contents[choice["finish_reason"]].append(choice["message"]["content"])
    assert all(content.startswith("{") for content in contents["length"])
    assert all(isinstance(json.loads(content), dict) for content in contents["stop"])


def test_a_choice_is_one_of_them(asked: dict[str, Got]) -> None:
    assert asked["choice"].message["content"] in COLOURS


def test_a_pattern_fits(asked: dict[str, Got]) -> None:
    assert re.fullmatch("#[0-9a-f]{6}", asked["regex"].message["content"])


@pytest.mark.parametrize(("name", "param"), [("unique", "response_format"), ("unique, guided", "guided_json")])
def test_what_cannot_be_followed_is_refused_with_its_path(asked: dict[str, Got], name: str, param: str) -> None:
    assert asked[name].status == 400
    assert asked[name].error["param"] == param
    assert asked[name].error["message"].startswith(f"{param}: ")
    assert "schema.properties.a" in asked[name].error["message"]
    assert "uniqueItems" in asked[name].error["message"]


@pytest.mark.parametrize("thinking", [ON, OFF], ids=["thinking", "not thinking"])
def test_openai_s_client_parses_a_model(demo_client: openai.OpenAI, thinking: dict[str, Any]) -> None:
    model = demo_client.models.list().data[0].id
    budget = {"thinking_token_budget": 8}
    answer = demo_client.chat.completions.parse(
        model=model, messages=ASK["messages"], response_format=Colour, max_tokens=60, extra_body={**thinking, **budget}
    )
    assert isinstance(answer.choices[0].message.parsed, Colour)


def test_openai_s_client_says_that_an_answer_was_cut_off(demo_client: openai.OpenAI) -> None:
    model = demo_client.models.list().data[0].id
    with pytest.raises(openai.LengthFinishReasonError):
        demo_client.chat.completions.parse(
            model=model, messages=ASK["messages"], response_format=Colour, max_tokens=3, extra_body=OFF
        )
