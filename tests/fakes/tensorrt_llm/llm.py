"""Both LLMs."""
# ruff: noqa: ARG002 - the signatures are those of the real thing

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from .executor import Executor
from .parameters import RECORDED, KvCacheConfig, SamplingParams, as_recorded
from .result import RequestError, RequestOutput


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class LLM:
    """The PyTorch flow."""

    made: ClassVar[list[Any]] = []
    token_s: ClassVar[float] = 0.0004
    job_variables: ClassVar[list[str]] = [name for name in os.environ if name.startswith(("OMPI_COMM_WORLD_", "PMI_"))]
    _recorded: ClassVar[str] = "LLM"
    _streams_end_id: ClassVar[bool] = False

    @as_recorded("LLM")
    def __init__(
        self,
        model: str | Path,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        assert not _has_loop(), "constructed in an event loop, which it would block"
        for name in kwargs:
            if name in RECORDED[self._recorded].get("refused_kwargs_with_hint", ()):
                raise ValueError(f"{name} is only supported by tensorrt_llm._tensorrt_engine.LLM")
            if name not in RECORDED[self._recorded]["allowed_kwargs"]:
                raise ValueError(f"{type(self).__name__} got invalid argument: {name}")
        self.arguments = {
            "model": model,
            "tokenizer": tokenizer,
            "tensor_parallel_size": tensor_parallel_size,
            **kwargs,
        }
        self.tokenizer = tokenizer
        self.kwargs = kwargs
        self.config = json.loads((Path(model) / "config.json").read_text())
        self._check()
        self._cache = kwargs.get("kv_cache_config", KvCacheConfig())
        self._seen: list[Any] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self._executor: Executor | None = self._make_executor()
        LLM.made.append(self)

    @as_recorded("LLM.generate_async")
    def generate_async(
        self,
        inputs: Any,
        sampling_params: Any = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        trace_headers: Mapping[str, str] | None = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        if self._executor is None or self._executor.is_shutdown:
            raise RuntimeError("LLM is shutting down")
        loop = asyncio.get_running_loop()
        assert self.loop in (None, loop), "submitted from a second event loop"
        self.loop = self._executor.loop = loop
        assert streaming, "the adapter streams"
        if not isinstance(sampling_params, SamplingParams):
            raise TypeError(f"sampling_params is {type(sampling_params)}")
        if not isinstance(inputs, list):
            raise TypeError(f"inputs is {type(inputs)}")
        assert isinstance(inputs[0], int), "token ids must be Python ints"
        assert not any(sampling_params is seen for seen in self._seen), "parameters were used before"
        self._seen.append(sampling_params)
        if self._executor.next_error is not None:
            error, self._executor.next_error = self._executor.next_error, None
            raise error
        self._check_request(inputs, sampling_params)
        if sampling_params.end_id is None and self.tokenizer is None:
            raise ValueError("end_id must be set without a tokenizer")
        had_end_id = sampling_params.end_id is not None
        sampling_params.setup(self.tokenizer)
        refusal = None
        if had_end_id and sampling_params.bad is not None:
            refusal = f"SamplingParams.bad ({sampling_params.bad}) is not processed by tokenizer"
        if sampling_params.guided_decoding is not None and not self.kwargs.get("guided_decoding_backend"):
            refusal = "guided decoding is not enabled"
        result: RequestOutput = self._executor.submit(inputs, sampling_params)
        if refusal:
            self._executor.forget(result.request_id)
            result.put(RequestError(refusal))
        return result

    @as_recorded("LLM.get_stats")
    def get_stats(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        return self._executor.get_stats(timeout or 0)  # type: ignore[union-attr]

    def shutdown(self) -> None:
        assert not _has_loop(), "shut down in the event loop, which it would block"
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _check_health(self) -> bool:
        return self._executor is not None and not self._executor.is_shutdown

    # What makes it misbehave.

    @property
    def fake_executor(self) -> Executor:
        assert self._executor is not None
        return self._executor

    def _check(self) -> None:
        if "architectures" not in self.config:
            raise ValueError(f"{self.arguments['model']} is no Hugging Face model")
        assert self.tokenizer is not None
        self.max_batch_size: int = self.kwargs.get("max_batch_size", 2048)
        self.vocab_size: int = self.config["vocab_size"]

    def _check_request(self, inputs: list[int], params: Any) -> None:
        if not self.kwargs.get("enable_chunked_prefill") and len(inputs) > self.kwargs.get("max_num_tokens", 8192):
            raise RequestError("the prompt is longer than max_num_tokens")

    def _make_executor(self) -> Executor:
        return Executor(
            self.max_batch_size,
            self.vocab_size,
            self.kwargs["max_seq_len"],
            self.token_s,
            self._cache,
            tokenizer=self.tokenizer,
            streams_end_id=self._streams_end_id,
            keeps_stats=bool(self.kwargs.get("enable_iter_perf_stats")) or self._streams_end_id,
        )


class EngineLLM(LLM):
    """The engine flow."""

    _recorded = "_tensorrt_engine.LLM"
    _streams_end_id = True

    def _check(self) -> None:
        build = self.config["build_config"]
        for name in ("max_batch_size", "max_num_tokens"):
            assert self.kwargs[name] <= build[name], f"{name} is more than the engine was built for"
        assert self.arguments["tensor_parallel_size"] == 1
        assert self.kwargs["kv_cache_config"].dtype == "auto"
        self.max_batch_size = self.kwargs["max_batch_size"]
        self.vocab_size = self.config["pretrained_config"]["vocab_size"]

    def _check_request(self, inputs: list[int], params: Any) -> None:
        json.loads((Path(self.arguments["model"]) / "config.json").read_text())  # for every request
        if params.logprobs is not None:
            raise ValueError("logprobs needs LLM(gather_generation_logits=True)")
        if not self.kwargs["enable_chunked_prefill"]:
            longest = self.config["build_config"]["max_seq_len"]
            if len(inputs) + params.max_tokens > longest:
                raise ValueError(f"prompt and max_tokens are more than max_seq_len {longest}")
