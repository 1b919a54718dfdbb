"""The names of the model, and what a front says of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import openai
import pytest

from nemotron_client.testing import Fault
from tests.unit.front.conftest import MODEL, FrontOf
from tests.waiting import wait_until

NVIDIA = "nvidia/llama-3.1-nemotron-nano-8b-v1"


def chat(model: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}]}


def test_nvidias_name_and_the_packages_names_are_served(front_of: FrontOf) -> None:
    listed = front_of().get("/v1/models").json()
    assert [entry["id"] for entry in listed["data"]] == [NVIDIA, "nano", "nano-fp8"]
    assert {entry["max_model_len"] for entry in listed["data"]} == {4096}
    assert {entry["root"] for entry in listed["data"]} == {NVIDIA}


def test_another_model_has_no_name_of_nvidia(front_of: FrontOf) -> None:
    front = front_of(model={**MODEL, "chat_format": "chatml", "package": "nano"})
    assert [entry["id"] for entry in front.get("/v1/models").json()["data"]] == ["nano"]


def test_given_names_come_first(front_of: FrontOf) -> None:
    front = front_of(served_model_name=("a/b", "c"))
    assert [entry["id"] for entry in front.get("/v1/models").json()["data"]] == ["a/b", "c", "nano", "nano-fp8"]


@pytest.mark.parametrize("path", [NVIDIA, NVIDIA.replace("/", "%2F"), "nano"])
def test_one_model(front_of: FrontOf, path: str) -> None:
    entry = front_of().get(f"/v1/models/{path}").json()
    assert entry["id"] == path.replace("%2F", "/")
    openai.types.Model.model_validate(entry, strict=True)


def test_openais_client_lists_and_retrieves(front_of: FrontOf) -> None:
    client = front_of().openai()
    assert [model.id for model in client.models.list()] == [NVIDIA, "nano", "nano-fp8"]
    assert client.models.retrieve(NVIDIA).id == NVIDIA


def test_every_name_is_answered_and_said_back(front_of: FrontOf) -> None:
    front = front_of("Paris.")
    for name in (NVIDIA, "nano", "nano-fp8"):
        assert front.post("/v1/chat/completions", chat(name)).json()["model"] == name
    for none in (None, ""):
        assert front.post("/v1/chat/completions", chat(none)).json()["model"] == NVIDIA


@pytest.mark.parametrize("name", ["gpt-4o", " ", 3, ["nano"], {}])
def test_another_name_is_not_found(front_of: FrontOf, name: object) -> None:
    response = front_of("Paris.").post("/v1/chat/completions", chat(name))
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert NVIDIA in error["message"]


def test_a_model_that_is_not_there_is_not_found(front_of: FrontOf) -> None:
    response = front_of().get("/v1/models/gpt-4o")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_a_package_that_came_later_is_found(front_of: FrontOf) -> None:
    front = front_of("Paris.")
    assert front.post("/v1/chat/completions", chat("other")).status_code == 404
    front.transport.model["name"] = "other"
    wait_until(lambda: front.post("/v1/chat/completions", chat("other")).status_code == 200)


def test_names_that_are_not_known_ask_the_servers_once_a_second(
    front_of: FrontOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, asked = front_of(), []
    really = front.transport.metadata

    async def metadata(headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
        asked.append(headers)
        return await really(headers, timeout_s)

    monkeypatch.setattr(front.transport, "metadata", metadata)
    began = time.monotonic()
    for number in range(20):
        assert front.post("/v1/chat/completions", chat(f"other{number}")).status_code == 404
    assert len(asked) <= 1 + time.monotonic() - began


def test_a_long_name_is_not_said_back_whole(front_of: FrontOf) -> None:
    error = front_of().post("/v1/chat/completions", chat("x" * 100_000)).json()["error"]
    assert error["message"].startswith('model: there is no "xxx')
    assert len(error["message"]) < 300


def test_a_server_that_does_not_say_what_it_serves(front_of: FrontOf) -> None:
    front = front_of(Fault.not_ready(), model={})
    assert front.get("/v1/models").json()["data"][0]["id"] == NVIDIA
    assert front.post("/v1/chat/completions", chat(None)).status_code == 503


def test_versions_and_metadata(front_of: FrontOf) -> None:
    front = front_of()
    version = front.get("/version").json()["version"]
    assert front.get("/v1/version").json() == {"release": version, "api": version}
    metadata = front.get("/v1/metadata").json()
    assert metadata["version"] == version
    assert metadata["modelInfo"][0]["shortName"] == NVIDIA
    assert metadata["selectedModelProfileId"] == "nano-fp8"
