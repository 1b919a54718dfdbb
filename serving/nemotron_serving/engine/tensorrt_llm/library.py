"""The one place that imports TensorRT-LLM, and what it brings: load it, construct its LLM, make its parameters.

What `nemotron-serve`'s environment says about TensorRT-LLM, and what it must not say to it, is here too.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nemotron_serving.engine.base import EngineRequest, Sampling
from nemotron_serving.engine.tensorrt_llm.files import IMAGE, TENSORRT_LLM, EngineFiles, Flow, check_release
from nemotron_serving.errors import PackageError
from nemotron_serving.features import FEATURES, Feature
from nemotron_serving.host import HostOptions
from nemotron_serving.package import EngineSpec, Package

_GIB = 1 << 30
_PREFIX = "TENSORRT_LLM_ENGINE_"
# Variables of a job that mpirun or srun started. TensorRT-LLM spawns workers of its own, which would take themselves
# for part of that job. What configures MPI (OMPI_MCA_*, PMIX_MCA_*) stays.
_JOB = re.compile(
    r"OMPI_(COMM_WORLD_|MCA_orte_|UNIVERSE_SIZE$|FIRST_RANKS$|APP_CTX_NUM_PROCS$)"
    r"|ORTE_|PMI_|PMIX_(?!MCA_)|TLLM_SPAWN_PROXY_PROCESS$"
)


class TensorRTLLMOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What depends on the machine and its TensorRT-LLM. Each is the variable TENSORRT_LLM_ENGINE_<NAME>.

    Attributes:
        abort: Whether an abandoned request is aborted in the engine. Switched off, its tokens are dropped and the
            engine works on it to its end: for a release whose abort does harm (TensorRT-LLM issue #10810).
        tensor_parallel_size: GPUs that a checkpoint is spread over. An engine has its own number built in.
    """

    abort: bool = True
    tensor_parallel_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> TensorRTLLMOptions:
        """Read the variables.

        Raises:
            PackageError: a value that is not of its type.
        """
        given = {
            name: value for name in cls.__struct_fields__ if (value := environment.get(_PREFIX + name.upper(), ""))
        }
        try:
            options = msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise PackageError(f"{_PREFIX}* variables: {error}. Correct or unset the variable.") from error
        if options.tensor_parallel_size < 1:
            raise PackageError(f"{_PREFIX}TENSOR_PARALLEL_SIZE is {options.tensor_parallel_size}, expected at least 1.")
        return options


@dataclass(frozen=True)
class Library:
    """The names of TensorRT-LLM that are used here. `llm` is that of one flow."""

    version: str
    llm: Any
    sampling_params: Any
    guided_decoding_params: Any
    kv_cache_config: Any
    cuda_graph_config: Any
    request_error: type[Exception]


def load_library(spec: EngineSpec, files: EngineFiles) -> Library:
    """Import TensorRT-LLM, without what an MPI job may have left in the environment.

    Raises:
        PackageError: it is not installed, or is another release than the files need.
    """
    clear_job_variables()
    try:
        import tensorrt_llm  # type: ignore[import-not-found, unused-ignore]
        from tensorrt_llm import llmapi

        check_release(spec, files.path, tensorrt_llm.__version__)
        if files.flow == "engine":
            from tensorrt_llm._tensorrt_engine import LLM  # type: ignore[import-not-found, unused-ignore]
        else:
            from tensorrt_llm import LLM
    except ImportError as error:
        raise PackageError(
            f"TensorRT-LLM {spec.version} cannot be imported: {error}. Serve in {IMAGE}, which has {TENSORRT_LLM}."
        ) from error
    return Library(
        version=tensorrt_llm.__version__,
        llm=LLM,
        sampling_params=tensorrt_llm.SamplingParams,
        guided_decoding_params=llmapi.GuidedDecodingParams,
        kv_cache_config=llmapi.KvCacheConfig,
        cuda_graph_config=llmapi.CudaGraphConfig,
        request_error=llmapi.RequestError,
    )


def clear_job_variables(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove what an MPI job left in the environment; to be called before tensorrt_llm is imported."""
    for name in [name for name in environment if _JOB.match(name)]:
        del environment[name]


def features(library: Library, flow: Flow) -> frozenset[Feature]:
    """What the LLM of a flow can do beyond plain sampling."""
    if flow == "engine":
        return frozenset(name for name, support in FEATURES.items() if support.compiled)
    major, minor = (int(part) for part in library.version.split(".")[:2])
    return frozenset(
        name for name, support in FEATURES.items() if support.checkpoint and support.checkpoint <= (major, minor)
    )


def open_llm(
    library: Library, package: Package, files: EngineFiles, host: HostOptions, options: TensorRTLLMOptions
) -> Any:
    """Construct the LLM. Returns when the weights are loaded; must not be called in an event loop.

    Raises:
        PackageError: no GPU or another one, options that do not fit the files, or files that TensorRT-LLM cannot load.
    """
    _check_gpu(package.manifest.engine, files)
    if files.flow == "engine" and options.tensor_parallel_size not in (1, files.world_size):
        raise PackageError(
            f"TENSORRT_LLM_ENGINE_TENSOR_PARALLEL_SIZE is {options.tensor_parallel_size}, the engine in {files.path} "
            f"was built for {files.world_size} GPUs. Unset it: an engine has its own number built in."
        )
    tokenizer = _tokenizer(package.tokenizer_path, package.serving.stop_token_ids[0])
    cache = _kv_cache(library, files, host)
    make = _engine_llm if files.flow == "engine" else _pytorch_llm
    try:
        return make(library, files, tokenizer, cache, options)
    except Exception as error:
        raise PackageError(
            f"TensorRT-LLM {library.version} cannot load {files.path}: {error}. Its own output above says more."
        ) from error


def _check_gpu(spec: EngineSpec, files: EngineFiles) -> None:
    """Refuse to load where there is no GPU, and an engine on another GPU than it was compiled for."""
    import torch

    if not torch.cuda.is_available():
        raise PackageError("No GPU is visible. Look at nvidia-smi, CUDA_VISIBLE_DEVICES and docker's --gpus.")
    here = torch.cuda.get_device_name(0)
    if files.flow == "engine" and here != spec.device:
        raise PackageError(
            f"The engine in {files.path} was compiled for {spec.device}, the GPU here is {here}. "
            "Build the package on this kind of GPU."
        )


def _engine_llm(library: Library, files: EngineFiles, tokenizer: Any, cache: Any, _: TensorRTLLMOptions) -> Any:
    # max_num_tokens and max_batch_size are forwarded as they are, also to an engine that was built with less.
    return library.llm(
        model=str(files.path),
        tokenizer=tokenizer,
        kv_cache_config=cache,
        enable_chunked_prefill=files.cuts_prompts,
        guided_decoding_backend="xgrammar",
        max_batch_size=files.max_batch_size,
        max_num_tokens=files.max_num_tokens,
        max_seq_len=files.max_seq_len,
    )


def _pytorch_llm(library: Library, files: EngineFiles, tokenizer: Any, cache: Any, options: TensorRTLLMOptions) -> Any:
    return library.llm(
        model=str(files.path),
        tokenizer=tokenizer,
        tensor_parallel_size=options.tensor_parallel_size,
        kv_cache_config=cache,
        enable_chunked_prefill=files.cuts_prompts,
        guided_decoding_backend="xgrammar",
        max_batch_size=files.max_batch_size,
        max_num_tokens=files.max_num_tokens,
        max_input_len=files.max_seq_len,
        max_seq_len=files.max_seq_len,
        # Without padding, only batches of 1 to 32, 64 and 128 sequences would have a graph.
        cuda_graph_config=library.cuda_graph_config(enable_padding=True, max_batch_size=files.max_batch_size),
        enable_iter_perf_stats=True,
    )


def _kv_cache(library: Library, files: EngineFiles, host: HostOptions) -> Any:
    # Of this and TensorRT-LLM's own share of the free memory, the smaller wins.
    max_tokens = host.kv_cache_gib * _GIB // files.kv_bytes_per_token if host.kv_cache_gib else None
    return library.kv_cache_config(
        enable_block_reuse=files.cuts_prompts, max_tokens=max_tokens, tokens_per_block=files.tokens_per_block
    )


def _tokenizer(path: Path, end_id: int) -> Any:
    """What guided decoding and bad words need; its end of text is where a grammar may end."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end_id)
    return tokenizer


def sampling_params(library: Library, request: EngineRequest, stop_order: Sequence[int], vocab_size: int) -> Any:
    """A request's SamplingParams, made anew for each: TensorRT-LLM changes the object.

    TensorRT-LLM knows one end id, and as stop tokens the rest. It tokenizes bad words only where no end id is given;
    it then takes the tokenizer's, and all ids are stop tokens. `min_tokens` holds back the end id alone.

    Args:
        library: TensorRT-LLM.
        request: What to generate.
        stop_order: The package's stop tokens; the first that the request has becomes its end id.
        vocab_size: Length of the bias that `Sampling.logit_bias` becomes.
    """
    sampling, greedy = request.sampling, request.sampling.greedy
    end_id = next((token for token in stop_order if token in request.stop_token_ids), min(request.stop_token_ids))
    others = request.stop_token_ids if sampling.bad_words else request.stop_token_ids - {end_id}
    return library.sampling_params(
        end_id=None if sampling.bad_words else end_id,
        stop_token_ids=sorted(others) or None,
        bad=_with_leading_space(sampling.bad_words),
        max_tokens=request.max_tokens,
        min_tokens=min(sampling.min_tokens, request.max_tokens) or None,
        # One token to choose from is greedy on both flows; temperature 0 and top_p 0 are not safe on either.
        temperature=None if greedy else sampling.temperature,
        top_k=1 if greedy else sampling.top_k,
        top_p=None if greedy else sampling.top_p,
        # None would be the same seed for every request.
        seed=secrets.randbits(63) if sampling.seed is None else sampling.seed,
        embedding_bias=_embedding_bias(sampling.logit_bias, vocab_size) if sampling.logit_bias else None,
        logprobs=_logprobs(sampling),
        guided_decoding=library.guided_decoding_params(grammar=request.guide) if request.guide else None,
        detokenize=False,
        **sampling.handed_on,
    )


def _logprobs(sampling: Sampling) -> int | None:
    """How many of the most probable tokens to ask for: 0 would be none, and the chosen one has to be among them."""
    if sampling.logprobs is None:
        return None
    among = sampling.top_k if sampling.chosen_among_few and not sampling.greedy else 1
    return max(sampling.logprobs, among)


def _with_leading_space(words: tuple[str, ...]) -> list[str] | None:
    # In the middle of a text a word's first token begins with the space before it.
    return [variant for word in words for variant in (word, f" {word}")] or None


def _embedding_bias(logit_bias: dict[int, float], vocab_size: int) -> Any:
    import torch

    bias = torch.zeros(vocab_size, dtype=torch.float32)
    for token, value in logit_bias.items():
        bias[token] = value
    return bias
