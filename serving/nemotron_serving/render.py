"""Render model_repository/*/config.pbtxt from the contract.

Run `python -m nemotron_serving.render model_repository` after a change of the contract; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from nemotron_serving.contract import (
    ENSEMBLE_INPUTS,
    ENSEMBLE_OUTPUTS,
    GENERATION_OUTPUTS,
    PREPROCESSING_OUTPUTS,
    STREAM_OUTPUTS,
    TEXT_OUTPUTS,
    TOKEN_INPUTS,
    TOKEN_OUTPUTS,
    Tensor,
)

_HEADER = "# Rendered from nemotron_serving/contract.py by 'python -m nemotron_serving.render'. Do not edit.\n"


def render_configs() -> dict[str, str]:
    """The content of config.pbtxt by model name."""
    return {
        "preprocessing": _python_model("preprocessing", ENSEMBLE_INPUTS, PREPROCESSING_OUTPUTS),
        "tensorrt_llm": _python_model("tensorrt_llm", TOKEN_INPUTS, TOKEN_OUTPUTS, decoupled=True),
        # One instance and no dynamic batching: responses of a stream stay in order.
        "postprocessing": _python_model("postprocessing", STREAM_OUTPUTS, TEXT_OUTPUTS),
        "ensemble": _ensemble(),
        "unary": _python_model("unary", ENSEMBLE_INPUTS, ENSEMBLE_OUTPUTS),
    }


def _python_model(name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor], *, decoupled: bool = False) -> str:
    optional = name != "postprocessing"
    return (
        f'{_HEADER}name: "{name}"\nbackend: "python"\nmax_batch_size: 1\n'
        + ("model_transaction_policy { decoupled: true }\n" if decoupled else "")
        + "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
        + _tensors("input", inputs, optional=optional)
        + _tensors("output", outputs)
    )


def _ensemble() -> str:
    steps = [
        _step("preprocessing", _same(ENSEMBLE_INPUTS), _internal(PREPROCESSING_OUTPUTS)),
        _step("tensorrt_llm", _internal(PREPROCESSING_OUTPUTS), _internal(STREAM_OUTPUTS) | _same(GENERATION_OUTPUTS)),
        _step("postprocessing", _internal(STREAM_OUTPUTS), _same(TEXT_OUTPUTS)),
    ]
    return (
        f'{_HEADER}name: "ensemble"\nplatform: "ensemble"\nmax_batch_size: 1\n'
        + _tensors("input", ENSEMBLE_INPUTS, optional=True)
        + _tensors("output", ENSEMBLE_OUTPUTS)
        + "ensemble_scheduling {\n  step [\n"
        + ",\n".join(steps)
        + "\n  ]\n}\n"
    )


def _tensors(kind: str, tensors: Iterable[Tensor], *, optional: bool = False) -> str:
    tail = " optional: true" if optional else ""
    lines = [
        f'  {{ name: "{tensor.name}" data_type: TYPE_{tensor.dtype} dims: {list(tensor.dims)}{tail} }}'
        for tensor in tensors
    ]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"


def _same(tensors: Iterable[Tensor]) -> dict[str, str]:
    return {tensor.name: tensor.name for tensor in tensors}


def _internal(tensors: Iterable[Tensor]) -> dict[str, str]:
    # A leading underscore keeps an ensemble-internal tensor apart from an input or output of the same name.
    return {tensor.name: f"_{tensor.name}" for tensor in tensors}


def _step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    maps = [
        f'      {kind}_map {{ key: "{key}" value: "{value}" }}'
        for kind, mapping in (("input", inputs), ("output", outputs))
        for key, value in mapping.items()
    ]
    return f'    {{\n      model_name: "{model}"\n      model_version: -1\n' + "\n".join(maps) + "\n    }"


def main() -> None:
    """Write the files below the directory given as the only argument."""
    for model, text in render_configs().items():
        directory = Path(sys.argv[1]) / model
        (directory / "1").mkdir(parents=True, exist_ok=True)
        (directory / "config.pbtxt").write_text(text)


if __name__ == "__main__":
    main()
