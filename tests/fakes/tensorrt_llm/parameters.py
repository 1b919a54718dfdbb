"""Parameter classes with the recorded fields, types and defaults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "contract" / "llm_api.json").read_text())
Function = TypeVar("Function", bound=Callable[..., Any])


def as_recorded(name: str) -> Callable[[Function], Function]:
    """Gives a function the annotations that were recorded."""

    def annotate(function: Function) -> Function:
        function.__annotations__ = {field["name"]: field["type"] for field in RECORDED[name]["params"]}
        return function

    return annotate


def model_fields(*names: str) -> dict[str, Any]:
    """What pydantic calls model_fields, of the recorded classes together."""
    return {
        field["name"]: SimpleNamespace(annotation=field["type"]) for name in names for field in RECORDED[name]["params"]
    }


def _dataclass(name: str, base: type = object, **hidden: Any) -> Any:
    fields = [(field["name"], field["type"], dataclasses.field(default=field["default"]))
              for field in RECORDED[name]["params"]]  # fmt: skip
    fields += [(key, "Any", dataclasses.field(default=value, init=False)) for key, value in hidden.items()]
    return dataclasses.make_dataclass(name, fields, bases=(base,), kw_only=True, slots=True)


class _SamplingParams:
    __slots__ = ()

    def setup(self: Any, tokenizer: Any) -> None:
        """What submitting does to the object: nothing where an end id was given."""
        if self.end_id is None:
            self.end_id = tokenizer.eos_token_id
            words = [self.bad] if isinstance(self.bad, str) else self.bad
            self._bad_word_ids = [tokenizer.encode(word, add_special_tokens=False) for word in words or []]
            if self.stop_token_ids is not None:
                self.stop_token_ids.append(self.end_id)
        self.pad_id = self.end_id if self.pad_id is None else self.pad_id

    @property
    def greedy(self: Any) -> bool:
        nothing = self.temperature is None and self.top_p is None and self.top_k is None
        return bool(nothing or self.top_k == 1 or self.top_p == 0 or self.temperature == 0)


SamplingParams = _dataclass("SamplingParams", _SamplingParams, _bad_word_ids=None, _stop_word_ids=None)
GuidedDecodingParams = _dataclass("GuidedDecodingParams")


class _Config:
    """What pydantic makes of recorded fields."""

    model_fields: ClassVar[dict[str, Any]]

    def __init__(self, **given: Any) -> None:
        for name in given:
            if name not in self.model_fields:
                raise ValueError(f"{type(self).__name__}: Extra inputs are not permitted: {name}")
        for field in RECORDED[type(self).__name__]["params"]:
            setattr(self, field["name"], given.get(field["name"], field["default"]))


class KvCacheConfig(_Config):
    model_fields = model_fields("KvCacheConfig")


class CudaGraphConfig(_Config):
    model_fields = model_fields("CudaGraphConfig")
