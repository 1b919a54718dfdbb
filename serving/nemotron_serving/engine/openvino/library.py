"""The one place that imports OpenVINO: the pipeline, its requests and what they give, and its compiler of grammars."""

from __future__ import annotations

import contextlib
import ctypes
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
from openvino import opset13
from openvino_genai import py_openvino_genai

from nemotron_serving.engine.base import LOWEST_LOGPROB, Delta, EngineFinish, EngineRequest, Sampling, TokenLogprob
from nemotron_serving.engine.openvino.cpu import KV_BLOCK_TOKENS, isa_properties
from nemotron_serving.engine.openvino.grammars import Form, form_of
from nemotron_serving.errors import PackageError
from nemotron_serving.package import Package, check_engine_version

MAX_BATCHED_TOKENS = 512
"""Tokens of a step. A long prompt is processed in parts of this size, between the steps of others."""

_MODEL = "openvino_model.xml"
_REASONS: dict[Any, EngineFinish] = {
    py_openvino_genai.GenerationFinishReason.STOP: "stop",
    py_openvino_genai.GenerationFinishReason.LENGTH: "length",
}


def open_pipeline(package: Package, kv_cache_gib: int, threads: int | None) -> Any:
    """The `openvino_genai.ContinuousBatchingPipeline` of a package.

    Raises:
        PackageError: files of another OpenVINO release, or files that OpenVINO cannot load.
    """
    check_engine_version(package.manifest.engine, openvino_genai.get_version())
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = kv_cache_gib
    scheduler.max_num_seqs = package.serving.limits.max_batch_size
    scheduler.max_num_batched_tokens = MAX_BATCHED_TOKENS
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **isa_properties()}
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    try:
        return openvino_genai.ContinuousBatchingPipeline(str(package.engine_path), scheduler, "CPU", properties)
    except RuntimeError as error:
        raise PackageError(f"OpenVINO cannot load {package.engine_path}: {error}") from error


def warm_up(pipeline: Any, package: Package, kv_cache_gib: int) -> tuple[int, float]:
    """Run one block of tokens, which compiles the kernels, and see what share of the KV cache it took.

    Returns:
        Tokens that the KV cache holds, and seconds that a full step may take: the same block again, whose time is that
        of reading the weights at least, times the blocks of a step. The shortest of three times counts, for other
        programs that held one of them up would have a hang go unseen for as many times as a step has blocks.

    Raises:
        PackageError: it cannot hold one sequence of the package's max_seq_len.
    """
    stop_token_ids = package.serving.stop_token_ids
    prompt_ids = [stop_token_ids[0]] * (KV_BLOCK_TOKENS - 1)
    times_s = []
    for _ in range(4):
        began = time.monotonic()
        handle = add_request(pipeline, EngineRequest(0, prompt_ids, 1, Sampling(), frozenset(stop_token_ids)))
        while pipeline.has_non_finished_requests():
            pipeline.step()
        handle.read()
        times_s.append(time.monotonic() - began)
    step_s = min(times_s[1:]) * MAX_BATCHED_TOKENS / KV_BLOCK_TOKENS
    kv_cache_tokens = int(KV_BLOCK_TOKENS * 100 / pipeline.get_metrics().max_cache_usage)
    max_seq_len = package.serving.limits.max_seq_len
    if kv_cache_tokens < max_seq_len:
        raise PackageError(
            f"A KV cache of {kv_cache_gib} GiB holds {kv_cache_tokens} tokens, the package promises {max_seq_len} "
            "a request. Give it more with --kv-cache-gib, or lower limits.max_seq_len."
        )
    return kv_cache_tokens, step_s


def add_request(pipeline: Any, request: EngineRequest) -> Any:
    """Add a request to a pipeline; dropping the handle that is returned cancels it."""
    ids = openvino.Tensor(np.array([request.prompt_ids], dtype=np.int64))
    return pipeline.add_request(request.request_id, ids, _generation_config(request))


def _generation_config(request: EngineRequest) -> Any:
    sampling = request.sampling
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.max_tokens
    config.min_new_tokens = min(sampling.min_tokens, request.max_tokens)
    config.stop_token_ids = set(request.stop_token_ids)
    config.eos_token_id = min(request.stop_token_ids)
    for name, value in sampling.handed_on.items():
        setattr(config, name, value)
    config.do_sample = not sampling.greedy
    if config.do_sample:
        config.temperature = sampling.temperature
        config.top_p = sampling.top_p
        if sampling.top_k:
            config.top_k = sampling.top_k
        # Left alone, OpenVINO starts every request from the same seed.
        config.rng_seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
    config.logprobs = 0 if sampling.logprobs is None else 1
    form = form_of(request)
    if form is not None:
        config.structured_output_config = _output_config(form)
    return config


def has_ended(handle: Any) -> bool:
    """Whether the pipeline is done with a request, whatever became of it."""
    return bool(handle.get_status() != py_openvino_genai.GenerationStatus.RUNNING)


def read_output(handle: Any, request: EngineRequest) -> Delta | None:
    """What a request has given since it was read last; None for nothing."""
    token_ids: list[int] = []
    logprobs: list[float] = []
    reason: EngineFinish | None = None
    if handle.can_read():
        for output in handle.read().values():
            token_ids += output.generated_ids
            logprobs += output.generated_log_probs
            reason = _REASONS.get(output.finish_reason)
    error = None
    if handle.get_status() == py_openvino_genai.GenerationStatus.IGNORED:
        error = "The KV cache has no room for this request. Serve with a larger --kv-cache-gib."
    if token_ids and token_ids[-1] in request.stop_token_ids:
        token_ids.pop()
    if not (token_ids or reason or error):
        return None
    # The stop token that was taken off has a log probability as well.
    values = logprobs[: len(token_ids)] if request.sampling.logprobs is not None else []
    return Delta(token_ids, reason, error, tuple(TokenLogprob(max(LOWEST_LOGPROB, value)) for value in values))


class TokenizerCompiler:
    """Compiles grammars into the cache of a pipeline's tokenizer, without a step of the pipeline that needs them.

    The library's compiler belongs to the tokenizer, keeps all it has compiled, and is shared by all pipelines with that
    tokenizer. So pipelines of a model that computes nothing compile: their `generate` frees Python's interpreter lock,
    which `step` of the real one does not, and the real one finds its grammar done. The library makes a new compiler
    when the number of logits is another: which is how its cache can be emptied.
    """

    def __init__(self, pipeline: Any, engine_path: Path) -> None:
        """Nothing is read or made before the first grammar."""
        self._pipeline = pipeline
        self._engine_path = engine_path
        self._lock = threading.Lock()
        self._vocab_size = 0
        self._same: Any = None
        self._other: Any = None

    def of_thread(self) -> Callable[[Form], None]:
        """See `Compiler.of_thread`."""
        tokenizer = self._pipeline.get_tokenizer()
        with self._lock:
            if self._same is None:
                self._vocab_size = _vocab_size(self._engine_path)
                self._other = _empty_pipeline(tokenizer, self._vocab_size + 1)
                self._same = _empty_pipeline(tokenizer, self._vocab_size)
        pipeline = _empty_pipeline(tokenizer, self._vocab_size)
        _generate(pipeline)
        return lambda form: _generate(pipeline, form)

    def clear(self) -> None:
        """See `Compiler.clear`."""
        _generate(self._other)
        _generate(self._same)
        with contextlib.suppress(AttributeError):  # another C library than GNU's
            ctypes.CDLL(None).malloc_trim(0)


def _output_config(form: Form) -> Any:
    """The `openvino_genai.StructuredOutputConfig` of a form."""
    return openvino_genai.StructuredOutputConfig(**{form.option: form.text})


def _vocab_size(engine_path: Path) -> int:
    """Logits of the model in a directory."""
    shape = openvino.Core().read_model(engine_path / _MODEL).output("logits").get_partial_shape()
    return int(shape[len(shape) - 1].get_length())


def _generate(pipeline: Any, form: Form | None = None) -> None:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = 1
    if form is not None:
        config.structured_output_config = _output_config(form)
    pipeline.generate(openvino.Tensor(np.zeros((1, 1), np.int64)), config)


def _empty_pipeline(tokenizer: Any, logits_size: int) -> Any:
    """A `LLMPipeline` whose logits are all 0."""
    ids = opset13.parameter([-1, -1], np.int64)
    mask = opset13.parameter([-1, -1], np.int64)
    beams = opset13.parameter([-1], np.int32)
    # Every input has to be used: the sums of two of them are one number.
    totals = [
        opset13.reduce_sum(opset13.convert(node, np.float32), np.arange(len(node.get_partial_shape())), keep_dims=False)
        for node in (mask, beams)
    ]
    used = opset13.multiply(opset13.add(opset13.convert(ids, np.float32), opset13.add(*totals)), np.float32(0))
    logits = opset13.add(opset13.unsqueeze(used, np.int64(2)), np.zeros((1, 1, logits_size), np.float32))
    names = {"input_ids": ids, "attention_mask": mask, "beam_idx": beams, "logits": logits}
    for name, node in names.items():
        node.output(0).set_names({name})
    model = openvino.Model([opset13.result(logits)], [ids, mask, beams])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, _MODEL)
        openvino.save_model(model, path, compress_to_fp16=False)
        weights = openvino.Tensor(np.fromfile(path.with_suffix(".bin"), np.uint8))
        return openvino_genai.LLMPipeline(
            path.read_text(), weights, tokenizer, "CPU", ATTENTION_BACKEND="SDPA", INFERENCE_NUM_THREADS=1
        )
