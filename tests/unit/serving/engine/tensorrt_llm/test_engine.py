"""The adapter against the fake TensorRT-LLM in tests/fakes, which behaves as awkwardly as the real one."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.engine import Delta, Engine, EngineRequest, Sampling, TokenLogprob, open_engine
from nemotron_serving.engine.tensorrt_llm import engine as adapter
from nemotron_serving.engine.tensorrt_llm.engine import Patience, TensorRTLLMEngine
from nemotron_serving.engine.tensorrt_llm.library import TensorRTLLMOptions, clear_job_variables, sampling_params
from nemotron_serving.engine.tensorrt_llm.results import Run
from nemotron_serving.errors import EngineError, PackageError
from nemotron_serving.generation.service import GenerationService
from nemotron_serving.host import HostOptions, RuntimeDir
from nemotron_serving.package import Package, SamplingDefaults
from tests.fakes import importable
from tests.fakes.packages import BUILD, LIMITS, checkpoint_config, engine_config, make_package
from tests.unit.serving.engine.suite import EngineSuite
from tests.unit.serving.support import (
    END_OF_TEXT,
    IM_END,
    Collector,
    Deltas,
    byte_tokenizer,
    eventually,
    ids_of,
    serving_config,
    settings,
    text_of,
    vocabulary_of,
)

STOP = frozenset((IM_END, END_OF_TEXT))
FLOWS = ("engine", "pytorch")
USUAL = Patience()


@pytest.fixture(scope="module", autouse=True)
def library() -> Iterator[Any]:
    """The fake package, importable for the length of this module."""
    gc.freeze()  # An engine that closes collects garbage, which takes seconds where torch was imported before.
    with importable() as module:
        yield module


@pytest.fixture(scope="module", params=FLOWS)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return make_package(tmp_path_factory.mktemp("suite") / "package", request.param)


@pytest.fixture(scope="module")
def engine(package: Package) -> Iterator[Engine]:
    engine = open_engine(package, HostOptions(package=package.path))
    yield engine
    engine.close()


@pytest.fixture
def prompt() -> list[int]:
    return ids_of("Once upon a time")


class TestSuite(EngineSuite):
    endless: ClassVar[int] = 6000
    stop_token_ids: ClassVar[frozenset[int]] = STOP
    thread_name: ClassVar[str] = "nemotron-tensorrt-llm"

    def test_close(self, package: Package, prompt: list[int]) -> None:
        self.check_close(open_engine(package, HostOptions(package=package.path)), prompt)


Start = Callable[..., TensorRTLLMEngine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts engines of a flow, and closes them. `host` is of HostOptions, the rest as in `make_package`.

    `patience` is the engine's.
    """
    engines: list[TensorRTLLMEngine] = []
    numbers = itertools.count()

    def start(
        flow: str = "pytorch", *, host: dict[str, Any] | None = None, patience: Patience = USUAL, **given: Any
    ) -> TensorRTLLMEngine:
        package = make_package(tmp_path / f"package-{next(numbers)}", flow, **given)
        engines.append(TensorRTLLMEngine(package, HostOptions(package=package.path, **(host or {})), patience))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def llm(library: Any) -> Any:
    """The LLM that was constructed last."""
    return library.LLM.made[-1]


def executor(library: Any) -> Any:
    return llm(library).fake_executor


def submit(
    engine: Engine,
    number: int = 1,
    *,
    prompt: str = "Hi",
    max_tokens: int = 40,
    stop: frozenset[int] = STOP,
    guide: str | None = None,
    **sampling: Any,
) -> Deltas:
    deltas = Deltas()
    engine.submit(EngineRequest(number, ids_of(prompt), max_tokens, Sampling(**sampling), stop, guide), deltas)
    return deltas


def run(engine: Engine, **given: Any) -> Deltas:
    deltas = submit(engine, **given)
    deltas.wait()
    return deltas


def running(engine: Engine, number: int = 1) -> Deltas:
    deltas = submit(engine, number, prompt=f"Run {number}", max_tokens=6000)
    assert eventually(lambda: len(deltas.all) > 2)
    return deltas


# Construction.


def test_an_engine_is_loaded_with_its_own_sizes(start: Start, library: Any) -> None:
    engine = start("engine", max_batch_size=4, max_seq_len=4096)
    assert (engine.limits.max_batch_size, engine.limits.max_seq_len) == (8, 8192)
    assert engine.features >= {"guided_decoding", "logit_bias", "bad_words", "min_tokens", "penalties"}
    assert not engine.features & {"logprobs", "top_logprobs", "sampled_logprobs"}
    arguments = llm(library).arguments
    assert {name: arguments[name] for name in BUILD} == BUILD
    assert arguments["enable_chunked_prefill"] is True
    assert arguments["kv_cache_config"].enable_block_reuse is True
    assert arguments["kv_cache_config"].max_tokens is None


def test_a_checkpoint_is_loaded_with_the_packages_limits(start: Start, library: Any) -> None:
    engine = start("pytorch", max_batch_size=4, max_seq_len=4096)
    assert (engine.limits.max_batch_size, engine.limits.max_seq_len) == (4, 4096)
    assert engine.features == {"guided_decoding", "logit_bias", "logprobs", "top_logprobs"}
    arguments = llm(library).arguments
    assert (arguments["max_batch_size"], arguments["max_seq_len"], arguments["max_input_len"]) == (4, 4096, 4096)
    graphs = arguments["cuda_graph_config"]
    assert (graphs.enable_padding, graphs.max_batch_size) == (True, 4)


def test_a_later_release_runs_a_checkpoint_and_has_more(
    start: Start, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "__version__", "1.3.0")
    assert {"bad_words", "min_tokens", "penalties", "sampled_logprobs"} <= start("pytorch").features


def test_the_tokenizer_ends_a_grammar_where_the_package_ends_an_output(start: Start, library: Any) -> None:
    start("engine")
    assert llm(library).tokenizer.eos_token_id == IM_END


@pytest.mark.parametrize(("kv_algorithm", "bytes_per_token"), [(None, 512), ("FP8", 256)])
def test_the_kv_cache_has_the_size_that_was_asked_for(
    start: Start, library: Any, kv_algorithm: str | None, bytes_per_token: int
) -> None:
    config = engine_config()
    config["pretrained_config"]["quantization"]["kv_cache_quant_algo"] = kv_algorithm
    engine = start("engine", config=config, host={"kv_cache_gib": 1})
    assert llm(library).arguments["kv_cache_config"].max_tokens == 2**30 // bytes_per_token
    assert engine.limits.kv_cache_tokens == 2**30 // bytes_per_token


def test_a_checkpoints_fp8_kv_cache_is_known_from_its_quantization(tmp_path: Path, library: Any) -> None:
    package = make_package(tmp_path / "package", "pytorch")
    quantization = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    (package.engine_path / "hf_quant_config.json").write_bytes(msgspec.json.encode(quantization))
    engine = TensorRTLLMEngine(package, HostOptions(package=package.path, kv_cache_gib=1))
    engine.close()
    assert library.LLM.made[-1].arguments["kv_cache_config"].max_tokens == 2**30 // 256


@pytest.mark.usefixtures("library")
def test_a_checkpoint_with_an_fp8_kv_cache_alone_is_refused(tmp_path: Path) -> None:
    package = make_package(tmp_path / "package", "pytorch")
    quantization = {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}
    (package.engine_path / "hf_quant_config.json").write_bytes(msgspec.json.encode(quantization))
    with pytest.raises(PackageError, match=r"names no quant_algo .* with FP8 weights or with a BF16 KV cache"):
        TensorRTLLMEngine(package, HostOptions(package=package.path))


def test_a_checkpoint_is_spread_over_gpus(start: Start, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORRT_LLM_ENGINE_TENSOR_PARALLEL_SIZE", "2")
    start("pytorch")
    assert llm(library).arguments["tensor_parallel_size"] == 2


def test_an_engine_that_cannot_cut_prompts_reuses_no_cache(start: Start, library: Any) -> None:
    config = engine_config(plugin_config={"use_paged_context_fmha": False, "tokens_per_block": 64})
    start("engine", config=config, max_seq_len=1024)
    arguments = llm(library).arguments
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["kv_cache_config"].enable_block_reuse is False
    assert arguments["kv_cache_config"].tokens_per_block == 64


@pytest.mark.parametrize(
    ("flow", "given", "message"),
    [
        ("engine", {"max_batch_size": 9}, "promises max_batch_size 9, the engine in .* was built for 8"),
        ("engine", {"max_seq_len": 8193}, "promises max_seq_len 8193, the engine in .* was built for 8192"),
        (
            "engine",
            {"config": {**engine_config(), "version": "1.1.0"}},
            r"built with TensorRT-LLM 1\.1\.0, installed is",
        ),
        (
            "engine",
            {"config": engine_config(plugin_config={"use_paged_context_fmha": False})},
            "promises max_seq_len 8192, the engine in .* takes 1024 tokens a step",
        ),
        ("engine", {"config": engine_config(max_batch_size="many")}, "config.json cannot be used: Expected `int`"),
        (
            "engine",
            {"config": {"model_type": "llama"}},
            "is neither a TensorRT engine .* nor a Hugging Face checkpoint",
        ),
        (
            "pytorch",
            {"config": checkpoint_config(max_position_embeddings=4096)},
            "promises max_seq_len 8192, the checkpoint's max_position_embeddings is 4096",
        ),
        ("pytorch", {"version": "1.3.0"}, r"built with tensorrt_llm 1\.3\.0, installed is 1\.2\.1"),
        (
            "pytorch",
            {"sampling_on": SamplingDefaults(repetition_penalty=1.1)},
            r"repetition_penalty is 1\.1; this TensorRT-LLM has no penalties",
        ),
        ("pytorch", {"host": {"engine_threads": 2}}, "--engine-threads was given"),
    ],
)
def test_what_does_not_fit_is_refused(start: Start, flow: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        start(flow, **given)


def test_an_engine_without_all_its_files_is_refused(start: Start) -> None:
    config = engine_config()
    config["pretrained_config"]["mapping"] = {"world_size": 2}
    with pytest.raises(PackageError, match=r"rank1\.engine is missing; config\.json says that there are 2"):
        start("engine", config=config)


def test_an_engine_keeps_its_own_number_of_gpus(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORRT_LLM_ENGINE_TENSOR_PARALLEL_SIZE", "4")
    with pytest.raises(PackageError, match=r"TENSOR_PARALLEL_SIZE is 4, the engine in .* was built for 1 GPUs"):
        start("engine")


def test_a_kv_cache_below_one_request_is_refused(start: Start, library: Any) -> None:
    config = checkpoint_config(hidden_size=1 << 20, num_hidden_layers=1000)
    with pytest.raises(PackageError, match=r"The KV cache holds 32 tokens, the package promises 8192"):
        start("pytorch", config=config, host={"kv_cache_gib": 160})
    assert llm(library)._executor is None, "the LLM was not shut down"


def test_an_engine_for_another_gpu_is_refused_and_a_checkpoint_is_not(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "NVIDIA L40S")
    with pytest.raises(PackageError, match="compiled for NVIDIA H100 80GB HBM3, the GPU here is NVIDIA L40S"):
        start("engine")
    start("pytorch")


def test_a_machine_without_a_gpu_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(PackageError, match="No GPU is visible"):
        start("pytorch")


def test_without_tensorrt_llm_the_refusal_says_where_it_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", None)
    with pytest.raises(PackageError, match=r"TensorRT-LLM 1\.2\.1 cannot be imported: .*trtllm-python-py3"):
        start("engine")


def test_what_the_llm_cannot_load_is_the_packages_fault(
    start: Start, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("Executor worker died during initialization")

    monkeypatch.setattr(library.LLM, "_check", broken)
    with pytest.raises(PackageError, match=r"TensorRT-LLM 1\.2\.1 cannot load .*: Executor worker died during"):
        start("pytorch")


# The environment.


def test_job_variables_go_and_configuration_stays() -> None:
    gone = ["OMPI_COMM_WORLD_SIZE", "OMPI_UNIVERSE_SIZE", "OMPI_FIRST_RANKS", "OMPI_MCA_orte_jobid", "ORTE_X"]
    gone += ["PMIX_RANK", "PMIX_NAMESPACE", "PMI_RANK", "TLLM_SPAWN_PROXY_PROCESS"]
    stays = ["OMPI_MCA_btl", "PMIX_MCA_gds", "OMPI_ALLOW_RUN_AS_ROOT", "CUDA_VISIBLE_DEVICES", "TLLM_LOG_LEVEL"]
    environment = dict.fromkeys([*gone, *stays], "1")
    clear_job_variables(environment)
    assert list(environment) == stays


def test_job_variables_are_gone_before_the_import(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorrt_llm"]:
        monkeypatch.delitem(sys.modules, name)
    start("engine")
    assert sys.modules["tensorrt_llm"].LLM.job_variables == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, TensorRTLLMOptions(abort=True, tensor_parallel_size=1)),
        ({"TENSORRT_LLM_ENGINE_ABORT": "0"}, TensorRTLLMOptions(abort=False)),
        ({"TENSORRT_LLM_ENGINE_ABORT": "false"}, TensorRTLLMOptions(abort=False)),
        ({"TENSORRT_LLM_ENGINE_ABORT": "", "TENSORRT_LLM_ENGINE_TENSOR_PARALLEL_SIZE": "2"},
         TensorRTLLMOptions(tensor_parallel_size=2)),
    ],
)  # fmt: skip
def test_options_come_from_the_environment(environment: dict[str, str], expected: TensorRTLLMOptions) -> None:
    assert TensorRTLLMOptions.from_environment(environment) == expected


@pytest.mark.parametrize(("name", "value"), [("ABORT", "maybe"), ("TENSOR_PARALLEL_SIZE", "0")])
def test_options_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(PackageError, match="TENSORRT_LLM_ENGINE_"):
        TensorRTLLMOptions.from_environment({f"TENSORRT_LLM_ENGINE_{name}": value})


# Tokens.


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("as_end_id", [True, False])
def test_a_stop_token_ends_the_output_where_it_would_stand(start: Start, flow: str, as_end_id: bool) -> None:
    engine = start(flow)
    free = run(engine).ids
    token = free[7]
    stopped = run(engine, stop=frozenset((token,)) if as_end_id else STOP | {token})
    assert stopped.ids == free[: free.index(token)]
    assert stopped.all[-1].finish_reason == "stop"
    assert eventually(lambda: engine.stats().running == 0)


def test_an_engine_that_runs_past_a_stop_token_is_stopped(
    start: Start, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start()
    token = run(engine).ids[10]

    def make(library: Any, request: EngineRequest, *rest: Any) -> Any:
        return sampling_params(library, dataclasses.replace(request, stop_token_ids=STOP), *rest)

    monkeypatch.setattr(adapter, "sampling_params", make)
    deltas = run(engine, max_tokens=6000, stop=STOP | {token})
    assert deltas.all[-1].finish_reason == "stop"
    assert token not in deltas.ids
    assert eventually(lambda: len(executor(library).aborts) == 1)
    assert eventually(lambda: engine.stats().running == 0)


@dataclasses.dataclass
class Output:
    """A RequestOutput and its one CompletionOutput in one."""

    token_ids: list[int]
    finish_reason: str | None = None
    logprobs: list[Any] = dataclasses.field(default_factory=list)
    cached_tokens: int = 0

    @property
    def outputs(self) -> list[Output]:
        return [self]

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None


def reader(**sampling: Any) -> Run:
    return Run(EngineRequest(1, [5], 100, Sampling(**sampling), frozenset((0, 2))), lambda _: None)


def test_a_list_that_gets_shorter_than_what_was_delivered_gives_nothing_twice() -> None:
    one = reader()
    assert one.read(Output([7, 8, 9])) == Delta([7, 8, 9], cached_tokens=0)
    assert one.read(Output([7])) is None
    assert one.read(Output([7, 8, 9, 10])) == Delta([10])
    assert one.read(Output([7], "stop")) == Delta([], "stop")


def test_a_stop_token_that_was_streamed_is_held_back_until_the_end() -> None:
    one = reader()
    assert one.read(Output([7, 2])) == Delta([7], cached_tokens=0)
    assert one.read(Output([7, 2])) is None
    assert one.read(Output([7], "stop")) == Delta([], "stop")


@given(st.lists(st.integers(3, 9), max_size=12), st.data())
def test_however_the_list_grows_and_shrinks_the_deltas_are_the_output(ids: list[int], data: st.DataObject) -> None:
    one, received = reader(), list[int]()
    for _ in range(data.draw(st.integers(0, 8))):
        streamed = [*ids, 2][: data.draw(st.integers(0, len(ids) + 1))]
        if delta := one.read(Output(streamed)):
            received += delta.token_ids
            assert delta.finish_reason is None
    final = one.read(Output(data.draw(st.sampled_from((ids, [*ids, 2]))), "stop"))
    assert final is not None
    assert (received + final.token_ids, final.finish_reason) == (ids, "stop")


@pytest.mark.parametrize("reason", ["timeout", "cancelled", "not_finished"])
def test_an_end_that_nobody_asked_for_is_an_error(reason: str) -> None:
    assert reader().read(Output([7], reason)) == Delta(
        [7], error=f"TensorRT-LLM ended the request: {reason}.", cached_tokens=0
    )


def test_log_probabilities_may_be_plain_numbers() -> None:
    delta = reader(logprobs=1).read(Output([7, 8], logprobs=[-1, -2.5, -3]))
    assert delta == Delta([7, 8], logprobs=(TokenLogprob(-1.0), TokenLogprob(-2.5)), cached_tokens=0)


def test_min_tokens_is_offered_only_where_it_does_not_count_the_prompt(
    start: Start, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "min_tokens" not in start("pytorch").features
    monkeypatch.setattr(library, "__version__", "1.3.0")
    assert "min_tokens" in start("pytorch").features


def test_min_tokens_keeps_the_model_from_stopping(start: Start) -> None:
    engine = start("engine")
    free = run(engine).ids
    stop = frozenset((free[2],))
    longer = run(engine, max_tokens=8, stop=stop, min_tokens=8)
    assert len(longer.ids) == 8
    assert longer.ids[:2] == free[:2]


def test_every_request_has_parameters_of_its_own_and_all_stop_tokens(start: Start, library: Any) -> None:
    engine = start("engine")
    for number in (1, 2):
        run(engine, number=number, temperature=0.7, top_p=0.9, seed=5, presence_penalty=0.5)
    run(engine)
    *_, first, second, greedy = llm(library)._seen
    for sampled in (first, second):
        assert (sampled.end_id, sampled.stop_token_ids, sampled.max_tokens) == (IM_END, [END_OF_TEXT], 40)
        assert (sampled.temperature, sampled.top_p, sampled.top_k, sampled.seed) == (0.7, 0.9, 0, 5)
        assert (sampled.presence_penalty, sampled.frequency_penalty, sampled.repetition_penalty) == (0.5, None, None)
        assert sampled.detokenize is False
    assert (greedy.temperature, greedy.top_p, greedy.top_k) == (None, None, 1)
    assert greedy.seed not in (None, 0)


def test_bad_words_leave_all_stop_tokens_to_the_stop_list(start: Start, library: Any) -> None:
    engine = start("engine")
    free = run(engine).ids
    word = text_of([next(token for token in free if 36 <= token < 98)])
    clean = run(engine, bad_words=(word,))
    assert not set(ids_of(word)) & set(clean.ids)
    assert len(clean.ids) == 40
    stopped = run(engine, bad_words=(word,), stop=STOP | {clean.ids[5]})
    assert stopped.ids == clean.ids[: clean.ids.index(clean.ids[5])]
    params = llm(library)._seen[-1]
    assert params.bad == [word, f" {word}"]
    assert {*STOP, clean.ids[5]} == set(params.stop_token_ids)


def test_log_probabilities_come_with_each_token(start: Start) -> None:
    deltas = run(start("pytorch"), logprobs=2)
    chosen = [one for delta in deltas.all for one in delta.logprobs]
    assert len(chosen) == len(deltas.ids) == 40
    for token, one in zip(deltas.ids, chosen, strict=True):
        other = next(index for index in range(2) if index != token)
        assert one == TokenLogprob(-0.5, ((token, -0.5), (other, -1.0)))


def test_log_probabilities_of_the_chosen_tokens_alone(start: Start) -> None:
    deltas = run(start("pytorch"), logprobs=0)
    assert {one for delta in deltas.all for one in delta.logprobs} == {TokenLogprob(-0.5)}


@pytest.mark.parametrize("top_k", [1, 2, 7, 20])
@pytest.mark.parametrize("wanted", [0, 1, 5, 20])
def test_the_chosen_token_is_among_the_most_probable_ones_that_were_to_choose_from(
    start: Start, top_k: int, wanted: int
) -> None:
    deltas = run(start("pytorch"), temperature=0.6, top_k=top_k, logprobs=wanted)
    assert deltas.all[-1].finish_reason == "length"
    chosen = [one for delta in deltas.all for one in delta.logprobs]
    assert [one.logprob for one in chosen] == [-0.5 * (token % top_k + 1) for token in deltas.ids]
    for one in chosen:
        assert [logprob for _, logprob in one.top] == [-0.5 * rank for rank in range(1, wanted + 1)]


@pytest.mark.parametrize(("top_k", "asked"), [(1, 3), (2, 3), (20, 20), (21, 3), (0, 3)])
def test_no_more_log_probabilities_are_asked_for_than_it_takes(
    start: Start, library: Any, top_k: int, asked: int
) -> None:
    run(start("pytorch"), temperature=0.6, top_k=top_k, logprobs=3, max_tokens=1)
    assert llm(library)._seen[-1].logprobs == asked


def test_a_missing_log_probability_is_an_error(start: Start, library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = start("pytorch")
    monkeypatch.setattr(executor(library), "_logprobs", lambda *_: {})
    deltas = run(engine, logprobs=1)
    assert (deltas.ids, deltas.all[-1].error) == ([], "TensorRT-LLM gave no log probability for an output token.")
    assert len(run(engine).ids) == 40


def test_prompt_tokens_from_the_prefix_cache_are_counted(start: Start) -> None:
    engine = start()
    first, again = (run(engine, prompt="0123456789" * 10) for _ in range(2))
    assert (first.all[0].cached_tokens, again.all[0].cached_tokens) == (0, 96)
    assert {delta.cached_tokens for delta in again.all[1:]} == {None}


def test_the_engine_flow_does_not_say_what_came_from_the_prefix_cache(start: Start) -> None:
    engine = start("engine")
    assert {delta.cached_tokens for _ in range(2) for delta in run(engine, prompt="0123456789" * 10).all} == {None}


def test_the_answer_after_a_budget_takes_its_prompt_from_the_prefix_cache(start: Start, tmp_path: Path) -> None:
    engine = start()
    limits = serving_config(**LIMITS).limits
    service = GenerationService(engine, vocabulary_of(byte_tokenizer(), tmp_path), limits, RuntimeDir(None), 1)
    sink = Collector()
    prompt_ids = ids_of("0123456789" * 10 + "<think>\n")
    service.submit("", prompt_ids, settings(thinking=True, budget=(40, 4), max_tokens=120), sink)
    last = sink.wait()
    service.close()
    assert last.states["thinking_budget_reached"]
    # In whole blocks of 32 tokens. The blocks of the thinking are there when the aborted request has let go of them.
    assert last.num_cached_tokens == len(prompt_ids) // 32 * 32


# Refusals and errors.


@pytest.mark.parametrize("kind", ["ValueError", "TypeError", "AssertionError", "RequestError"])
def test_a_request_that_the_llm_refuses_fails_alone(start: Start, library: Any, kind: str) -> None:
    engine = start()
    other = running(engine)
    error = getattr(importlib.import_module("builtins"), kind, None) or sys.modules["tensorrt_llm.llmapi"].RequestError
    executor(library).next_error = error("no such thing")
    assert run(engine, number=2).all[-1].error == "TensorRT-LLM refused the request: no such thing"
    assert len(run(engine, number=3).ids) == 40
    assert not other.ended
    engine.abort(1)


def test_a_request_that_fails_in_the_worker_fails_alone(start: Start, library: Any) -> None:
    engine = start()
    first, second = running(engine, 1), running(engine, 2)
    executor(library).fail_one(sys.modules["tensorrt_llm.llmapi"].RequestError("too long"))
    assert first.wait().error == "TensorRT-LLM could not finish the request: too long"
    assert len(run(engine, number=3).ids) == 40
    assert not second.ended
    engine.abort(2)


@pytest.mark.parametrize(
    "error", [AssertionError("logprobs length != output.length"), ValueError("Unknown"), KeyError(1)]
)
def test_what_one_response_raises_fails_that_request_alone(
    start: Start, library: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start()
    first, second = running(engine, 1), running(engine, 2)
    executor(library).fail_one(error, goes_on=True)
    assert first.wait().error == f"TensorRT-LLM failed: {error}"
    assert eventually(lambda: executor(library).aborts != []), "the LLM works on it still"
    assert eventually(lambda: engine.stats().running == 1)
    assert len(run(engine, number=3).ids) == 40
    assert not second.ended
    assert [record.message for record in caplog.records if record.exc_info] == ["engine request 1, fault 1 in a row"]
    engine.abort(2)


def test_one_request_after_another_that_raises_is_a_dead_engine(start: Start, library: Any) -> None:
    engine = start()
    idle = executor(library)
    error = "TensorRT-LLM takes no requests any more: no room"
    for number in range(1, 5):
        idle.next_error = RuntimeError("no room")
        assert run(engine, number=number).all[-1].error == error
    idle.next_error = RuntimeError("no room")
    assert run(engine, number=5).all[-1].error == error
    assert_dead(engine, [], error)


def assert_dead(engine: Engine, deltas: list[Deltas], reason: str) -> None:
    for one in deltas:
        assert one.wait(10).error == reason
        assert one.ended
    with pytest.raises(EngineError) as caught:
        submit(engine, 99)
    assert str(caught.value) == reason
    assert eventually(lambda: engine.stats().running == engine.stats().waiting == 0)
    engine.abort(1)


def test_a_background_error_fails_all_requests_and_later_ones(
    start: Start, library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start()
    all_of_them = [running(engine, number) for number in (1, 2, 3)]
    made = llm(library)
    executor(library).fail_in_background(RuntimeError("CUDA error"))
    assert_dead(engine, all_of_them, "TensorRT-LLM failed: CUDA error")
    assert eventually(lambda: made._executor is None), "the LLM was not shut down"
    assert [record.levelno for record in caplog.records if "CUDA error" in record.message] == [logging.ERROR]


def test_an_llm_that_is_shutting_down_takes_no_more(start: Start, library: Any) -> None:
    engine = start(patience=Patience(stats_pause_s=60))
    deltas = running(engine)
    executor(library).is_shutdown = True
    reason = "TensorRT-LLM takes no requests any more: LLM is shutting down"
    assert run(engine, number=2).all[-1].error == reason
    assert_dead(engine, [deltas], reason)


def test_an_idle_llm_that_shuts_itself_down_is_noticed(
    start: Start, library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start()
    executor(library).is_shutdown = True
    assert eventually(lambda: "TensorRT-LLM has shut itself down." in caplog.messages)
    assert_dead(engine, [], "TensorRT-LLM has shut itself down.")


def test_statistics_that_cannot_be_read_again_and_again_are_a_dead_engine(start: Start, library: Any) -> None:
    engine = start()
    deltas = running(engine)
    executor(library).stats_error = OSError("broken pipe")
    assert_dead(engine, [deltas], "TensorRT-LLM does not answer: broken pipe")


def test_a_worker_that_falls_silent_is_noticed_while_idle(
    start: Start, library: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start(patience=Patience(watch_s=0.02, probe_after_s=0.2, probe_limit_s=0.5))
    assert eventually(lambda: len(llm(library)._seen) > 3), "it was probed again and again"
    assert caplog.messages == [], "probes were answered"
    assert engine.stats().running == 0
    executor(library).silent = True
    assert eventually(lambda: caplog.messages != [])
    assert caplog.messages[0].startswith("TensorRT-LLM gave no sign of life for ")
    with pytest.raises(EngineError, match=r"^TensorRT-LLM gave no sign of life for "):
        submit(engine, 2)


# Abort.


def test_an_abandoned_request_counts_until_the_llm_lets_go_of_it(start: Start, library: Any) -> None:
    engine = start()
    deltas = running(engine)
    executor(library).silent = True
    engine.abort(1)
    so_far = len(deltas.all)
    assert eventually(lambda: executor(library).aborts != [])
    assert engine.stats().running == 1
    executor(library).silent = False
    assert eventually(lambda: engine.stats().running == 0)
    assert len(deltas.all) == so_far


def test_an_abort_before_its_turn_submits_nothing(start: Start, library: Any) -> None:
    engine = start()
    seen = len(llm(library)._seen)
    for number in range(1, 30):
        submit(engine, number, max_tokens=2)
        engine.abort(number)
    run(engine, number=99)
    assert len(llm(library)._seen) < seen + 30
    assert eventually(lambda: engine.stats().running == engine.stats().waiting == 0)


def test_an_id_is_free_at_once_after_an_abort(start: Start) -> None:
    engine = start()
    first = running(engine)
    engine.abort(1)
    so_far = len(first.all)
    assert len(run(engine, number=1).ids) == 40
    assert len(first.all) == so_far


def test_with_abort_switched_off_the_llm_works_on_and_nobody_gets_it(
    start: Start, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORRT_LLM_ENGINE_ABORT", "0")
    engine = start()
    deltas = submit(engine, max_tokens=800)
    assert eventually(lambda: len(deltas.all) > 2)
    engine.abort(1)
    so_far = len(deltas.all)
    assert engine.stats().running == 1
    assert len(run(engine, number=1).ids) == 40
    assert eventually(lambda: engine.stats().running == 0)
    assert executor(library).aborts == []
    assert len(deltas.all) == so_far


@pytest.mark.parametrize("abort", ["0", "1"])
def test_closing_does_not_wait_for_an_llm_that_fell_silent(
    start: Start, library: Any, monkeypatch: pytest.MonkeyPatch, abort: str
) -> None:
    monkeypatch.setenv("TENSORRT_LLM_ENGINE_ABORT", abort)
    engine = start(patience=Patience(drain_s=0.2))
    deltas = running(engine)
    executor(library).silent = True
    engine.close()
    assert not deltas.ended
    with pytest.raises(EngineError, match=r"^The engine was closed\.$"):
        submit(engine, 2)
    engine.close()
