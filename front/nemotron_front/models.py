"""The names under which callers ask for the model, and what a front says of it and of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nemotron_client import AsyncClient, ModelInfo
from nemotron_front.errors import ApiError
from nemotron_front.reading import shown

VERSION = version("nemotron-triton")
NVIDIA_ID = "nvidia/llama-3.1-nemotron-nano-8b-v1"
"""The id that NVIDIA's connectors know as a model that thinks and chats."""
_NEMOTRON = "nemotron"
_FRESH_S = 1.0


class Models:
    """The model behind a front, under each of its names.

    The servers are asked once; again when somebody asks for a name that is not known, for another package may be
    served by then, but once a second at most.
    """

    def __init__(self, client: AsyncClient, names: Sequence[str] = ()) -> None:
        """Nothing is asked yet.

        Args:
            client: Talks to the servers.
            names: What callers may ask for, the first for those who name none; empty takes what the servers say.
        """
        self._client = client
        self._given = tuple(names)
        self._info: ModelInfo | None = None
        self._names: tuple[str, ...] = ()
        self._created = int(time.time())
        self._fresh_until = 0.0
        self._asking = asyncio.Lock()

    async def resolve(self, asked: object = None) -> str:
        """The model that a request asks for; the first one where it names none.

        Raises:
            ApiError: there is no such model.
            NemotronError: no server says what there is.
        """
        if asked in (None, ""):  # the latter is for clients that have to name one
            return self._names[0] if self._names else (await self._ask())[0]
        if asked not in self._names and asked not in await self._ask():
            raise self._unknown(asked)
        return str(asked)

    async def list(self) -> dict[str, Any]:
        """OpenAI's list of models, with the fields that vLLM and NIM add. Raises NemotronError as `resolve`."""
        return {"object": "list", "data": [self._entry(name) for name in await self._ask()]}

    async def one(self, name: str) -> dict[str, Any]:
        """One of the list. Raises what `resolve` raises."""
        if name not in await self._ask():
            raise self._unknown(name)
        return self._entry(name)

    async def info(self) -> ModelInfo | None:
        """What the servers say of the model; None where they do not say. Raises NemotronError as `resolve`."""
        await self._ask()
        return self._info

    def routes(self) -> Sequence[Route]:
        """Questions that cost no generating. They raise ApiError and NemotronError."""

        async def listed(_: Request) -> Response:
            return JSONResponse(await self.list())

        async def one(request: Request) -> Response:
            return JSONResponse(await self.one(request.path_params["name"]))

        async def metadata(_: Request) -> Response:
            return JSONResponse(await self._metadata())

        async def release(_: Request) -> Response:
            return JSONResponse({"release": VERSION, "api": VERSION})

        async def short(_: Request) -> Response:
            return JSONResponse({"version": VERSION})

        return [
            Route("/v1/models", listed),
            Route("/v1/models/{name:path}", one),  # a name has a slash, which clients send as it is or as %2F
            Route("/v1/metadata", metadata),
            Route("/v1/version", release),
            Route("/version", short),
        ]

    async def _metadata(self) -> dict[str, object]:
        """NIM's description of a deployment. What has no meaning here is empty."""
        info, name = await self.info(), await self.resolve()
        return {
            "version": VERSION,
            "modelInfo": [{"shortName": name, "modelUrl": ""}],
            "selectedModelProfileId": info.package if info else "",
            "assetInfo": [],
            "licenseInfo": {"name": "", "path": "", "sha": "", "size": 0, "url": "", "type": "", "content": ""},
            "repository_override": "",
        }

    async def _ask(self) -> tuple[str, ...]:
        async with self._asking:
            if time.monotonic() >= self._fresh_until:
                await self._learn()
                self._fresh_until = time.monotonic() + _FRESH_S
        return self._names

    async def _learn(self) -> None:
        info = (await self._client.server_info()).model
        found = list(self._given)
        if not found and (info is None or info.chat_format == _NEMOTRON):
            found.append(NVIDIA_ID)
        if info is not None:
            found += [info.name, info.package]
        self._info, self._names = info, tuple(dict.fromkeys(found))

    def _entry(self, name: str) -> dict[str, Any]:
        # `root` is what LoRA adapters have as their base: NVIDIA's connectors look there for a name that they know.
        entry = {"id": name, "object": "model", "created": self._created, "owned_by": "nemotron-triton"}
        entry |= {"root": self._names[0], "parent": None, "permission": []}
        if self._info is not None:
            entry["max_model_len"] = self._info.max_seq_len
        return entry

    def _unknown(self, name: object) -> ApiError:
        message = f"model: there is no {shown(name)}, expected one of {', '.join(self._names)}"
        return ApiError(404, "not_found_error", "model_not_found", message, param="model")
