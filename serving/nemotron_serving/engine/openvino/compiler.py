"""Compiling grammars for OpenVINO GenAI without a step of the pipeline that needs them.

The library's compiler belongs to the tokenizer, keeps all it has compiled, and is shared by all pipelines with that
tokenizer. So pipelines of a model that computes nothing compile: their `generate` frees Python's interpreter lock,
which `step` of the real one does not, and the real one finds its grammar done.
"""

from __future__ import annotations

import contextlib
import ctypes
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
from openvino import opset13

from nemotron_serving.engine.openvino.grammars import Form

_MODEL = "openvino_model.xml"


class TokenizerCompiler:
    """Compiles into the cache of a pipeline's tokenizer.

    The library keeps one compiler a tokenizer, and makes a new one when the number of logits is another: which is how
    its cache can be emptied.
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


def output_config(form: Form) -> Any:
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
        config.structured_output_config = output_config(form)
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
