"""What the serving tests have in common: small tokenizers, packages, requests, and a sink that keeps what it gets."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from nemotron_serving.clock import MACHINE_CLOCK
from nemotron_serving.contract import ENSEMBLE_OUTPUTS
from nemotron_serving.engine import Delta, Engine, EngineLimits, EngineRequest, EngineStats, Feature, OnDelta, Sampling
from nemotron_serving.engine.simulated import SIMULATED_CONFIG, Script, SimulatedConfig
from nemotron_serving.generation.budget import ThinkingBudget
from nemotron_serving.generation.response import Response
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.output.assembler import OutputRules
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.reasoning import Start
from nemotron_serving.output.tags import READ_TAGS
from nemotron_serving.package import (
    ENGINE_DIR,
    SCHEMA_VERSION,
    TOKENIZER,
    EngineSpec,
    Limits,
    Manifest,
    Package,
    SamplingDefaults,
    ServingConfig,
    ThinkingPolicy,
    write_package,
)
from tests.llama3 import WORDS
from tests.virtual_clock import VirtualClock

CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, IM_START, IM_END = range(3)

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"  # four emoji and three joiners: one glyph
TEXTS = (
    "Hello world, it's 3.14159 o'clock; don't WE'LL they've",
    "สวัสดีครับ ผมชื่อสมชาย กำลังทดสอบ น้ำ ที่นี่",
    "नमस्ते दुनिया, क्षत्रिय आप कैसे हैं?",
    f"{FAMILY} \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd \U0001f1f9\U0001f1ed 1\ufe0f\u20e3",
    "中文测试,繁體字。日本語のテスト、カタカナ 안녕하세요 세계",
    "Grüße, naïve façade, e\u0301 o\u0302\u0323, Ærøskøbing, Việt Nam",
    "كيف حالك؟ السَّلَامُ עֲלֵיכֶם שלום",
    "def f(x):\n\n\tif x:\n\t\treturn {'a': [x, *y]}  # ok \r\n\r\n   \n",
    "½ ² ३ ٤ Ⅷ $€¥฿ ∑∫√∞ «quotes» — …",
    "<think>\n2 + 2 = 4\n</think>\n\n<TOOLCALL>[{}]</TOOLCALL> so.</think> {x}</think> .</think>",
    "\u200b\u00ad\u202eright to left\u202c \u2028 \u3000 \u00a0 \x00\x01\x7f",
)


def byte_tokenizer() -> Tokenizer:
    """One token a byte, after the control tokens of ChatML."""
    tokens = CONTROL_TOKENS + sorted(pre_tokenizers.ByteLevel.alphabet())
    return _with_controls(Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[])))


def special_tags_tokenizer() -> Tokenizer:
    """The byte tokenizer of a model whose tags are special tokens."""
    tokenizer = byte_tokenizer()
    tags = [*sorted(READ_TAGS), "<TOOL_RESPONSE>", "</TOOL_RESPONSE>", "<tools>", "</tools>"]
    tokenizer.add_special_tokens([AddedToken(tag, special=True, normalized=False) for tag in tags])
    return tokenizer


def bpe_tokenizer(*, like_llama_3: bool = False) -> Tokenizer:
    """A BPE learnt from `TEXTS`: tokens of several bytes that begin and end in the middle of characters.

    Words are cut as in GPT-2, or as in Llama 3, where newlines belong to the punctuation before them.
    """
    tokenizer = _with_controls(Tokenizer(models.BPE()))
    if like_llama_3:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        special_tokens=CONTROL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def _with_controls(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    return tokenizer


def serving_config(**changes: Any) -> ServingConfig:
    """A small configuration. Fields of `thinking` and `limits` are changed by their own names."""
    thinking: dict[str, Any] = {
        "default": False,
        "prefill_on": "<think>\n",
        "prefill_off": "",
        "max_thinking_tokens": None,
        "min_answer_tokens": 16,
        "system_on": "",
        "system_off": "",
    }
    limits: dict[str, Any] = {
        "max_seq_len": 2048,
        "max_prompt_bytes": 8192,
        "max_batch_size": 256,
        "max_waiting": 16,
        "default_timeout_ms": 60_000,
    }
    values: dict[str, Any] = {
        "model_name": "small",
        "chat_format": "chatml",
        "default_system_prompt": "You are small",
        "stop_token_ids": (IM_END, END_OF_TEXT),
        "max_tokens": 256,
        "sampling_on": SamplingDefaults(temperature=0.6, top_p=0.95),
        "sampling_off": SamplingDefaults(),
    }
    for name, value in changes.items():
        next((group for group in (thinking, limits) if name in group), values)[name] = value
    return ServingConfig(thinking=ThinkingPolicy(**thinking), limits=Limits(**limits), **values)


def manifest(**engine: str) -> Manifest:
    """A manifest without files; `engine` changes fields of its EngineSpec."""
    spec = {"kind": "simulated", "version": "0.1.0", "device": "cpu", "machine": "any", "precision": "none"} | engine
    return Manifest(SCHEMA_VERSION, "small", "the tests", {}, EngineSpec(**spec), {})


def make_package(
    path: Path,
    *scripts: Script,
    tokenizer: Tokenizer | None = None,
    engine: dict[str, Any] | None = None,
    **changes: Any,
) -> Package:
    """Write a package for the simulated engine; `engine` and `changes` are of SimulatedConfig and `serving_config`."""
    (path / ENGINE_DIR).mkdir(parents=True)
    tokenizer = tokenizer or byte_tokenizer()
    tokenizer.save(str(path / TOKENIZER))
    serving = serving_config(**changes)
    values: dict[str, Any] = {
        "max_batch_size": serving.limits.max_batch_size,
        "max_seq_len": serving.limits.max_seq_len,
        "kv_cache_tokens": serving.limits.max_seq_len * serving.limits.max_batch_size,
        "vocab_size": tokenizer.get_vocab_size(),
        "scripts": scripts,
    }
    config = SimulatedConfig(**(values | (engine or {})))
    (path / ENGINE_DIR / SIMULATED_CONFIG).write_bytes(msgspec.json.encode(config))
    return write_package(path, manifest(), serving)


def ids_of(text: str) -> list[int]:
    """Ids of the byte tokenizer."""
    return _BYTE_TOKENIZER.encode(text, add_special_tokens=False).ids


def text_of(ids: Iterable[int]) -> str:
    """Text of ids of the byte tokenizer."""
    return _BYTE_TOKENIZER.decode(list(ids))


_BYTE_TOKENIZER = byte_tokenizer()


def vocabulary_of(tokenizer: Tokenizer, directory: Path) -> Vocabulary:
    """Write the tokenizer into a directory and read it back."""
    tokenizer.save(str(directory / TOKENIZER))
    return Vocabulary.load(directory / TOKENIZER)


def settings(  # the names of GenerationSettings, with defaults
    *,
    max_tokens: int = 64,
    stream: bool = True,
    timeout_ms: int = 30_000,
    seed: int | None = None,
    thinking: bool = False,
    start: Start = "detect",
    budget: tuple[int, int] | None = None,
    stop_words: tuple[str, ...] = (),
    token_level: bool = False,
    logprobs: int | None = None,
    repetition_guard: bool = False,
    priority: int = 0,
) -> GenerationSettings:
    """Settings of one request; `budget` is (max_tokens, grace_tokens); `thinking` is the start of that name."""
    return GenerationSettings(
        sampling=Sampling(seed=seed, logprobs=logprobs),
        max_tokens=max_tokens,
        stream=stream,
        timeout_ms=timeout_ms,
        stop_token_ids=(IM_END, END_OF_TEXT),
        budget=ThinkingBudget(*budget) if budget else None,
        close_ids=() if token_level or start in ("answer", "closed") else tuple(CLOSE_IDS),
        repetition_guard=repetition_guard,
        priority=priority,
        output=None if token_level else OutputRules("thinking" if thinking else start, stop_words),
    )


CLOSE_IDS = ids_of("\n</think>\n\n")


_KINDS = {output.name: output.kind for output in ENSEMBLE_OUTPUTS}
_JSON_LISTS = ("tool_calls", "logprobs")


def joined(responses: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The outputs of all responses as those of one, which holds nothing of what says nothing."""
    fields: dict[str, Any] = {}
    for response in responses:
        for name, as_sent in response.items():
            value: Any = msgspec.json.decode(as_sent) if name in _JSON_LISTS and as_sent else as_sent
            if name == "tool_calls":
                value = [call["function"] for call in value]  # without their random ids
            if _KINDS[name] == "delta" and value:
                fields[name] = fields[name] + value if name in fields else value
            elif _KINDS[name] == "total" or value:
                assert _KINDS[name] != "once" or name not in fields
                fields[name] = value
    return fields


class Collector:
    """A sink that keeps every response.

    Args:
        clock: Whose time passes while somebody waits for the last one; None for the machine's.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self._clock = clock
        self.responses: list[Response] = []
        self.cancelled = False
        self._final = threading.Event()

    def send(self, response: Response) -> None:
        self.responses.append(response)
        if response.final:
            self._final.set()

    def is_cancelled(self) -> bool:
        return self.cancelled

    def wait(self, timeout_s: float = 20) -> Response:
        """The last response."""
        came = self._clock.run_until(self._final.is_set, timeout_s) if self._clock else self._final.wait(timeout_s)
        assert came, f"no last response after {timeout_s} s, only {len(self.responses)}"
        return self.responses[-1]

    @property
    def ids(self) -> list[int]:
        return [token for response in self.responses for token in response.token_ids]

    @property
    def text(self) -> str:
        return text_of(self.ids)


class RecordingEngine:
    """Another engine, and what was asked of it.

    Args:
        engine: The other one.
        limits: What it shall say of itself instead.
    """

    def __init__(self, engine: Engine, **limits: Any) -> None:
        self._engine = engine
        self.limits: EngineLimits = dataclasses.replace(engine.limits, **limits)
        self.requests: list[EngineRequest] = []
        self.aborted: list[int] = []
        self.closed = False
        self.fail_from: int | None = None
        """Index of the first submit that raises."""

    @property
    def features(self) -> frozenset[Feature]:
        return self._engine.features

    def submit(self, request: EngineRequest, on_delta: OnDelta) -> None:
        if self.fail_from is not None and len(self.requests) >= self.fail_from:
            self._engine.close()
        self.requests.append(request)
        self._engine.submit(request, on_delta)

    def abort(self, request_id: int) -> None:
        self.aborted.append(request_id)
        self._engine.abort(request_id)

    def stats(self) -> EngineStats:
        return self._engine.stats()

    def close(self) -> None:
        self.closed = True
        self._engine.close()


class Deltas:
    """Receives the deltas of one request from an engine.

    Args:
        clock: The engine's, whose time passes while somebody waits for the last one; None for the machine's.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self._clock = clock
        self.all: list[Delta] = []
        self.times: list[float] = []
        self._final = threading.Event()

    def __call__(self, delta: Delta) -> None:
        self.all.append(delta)
        self.times.append((self._clock or MACHINE_CLOCK).monotonic())
        if delta.finish_reason or delta.error:
            self._final.set()

    def wait(self, timeout_s: float = 60) -> Delta:
        """The last delta."""
        came = self._clock.run_until(self._final.is_set, timeout_s) if self._clock else self._final.wait(timeout_s)
        assert came, f"no last delta after {timeout_s} s, only {len(self.all)}"
        return self.all[-1]

    @property
    def ended(self) -> bool:
        return self._final.is_set()

    @property
    def ids(self) -> list[int]:
        return [token for delta in self.all for token in delta.token_ids]


def eventually(condition: Callable[[], bool], timeout_s: float = 30) -> bool:
    """Whether a condition becomes true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
