"""The demo's model, read by ourselves and computed by transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from nemotron_build.cpu.gguf_file import GgufFile
from tests.unit.build.demo_checkpoint import demo_checkpoint, demo_gguf


@pytest.fixture
def gguf(tmp_path: Path) -> Iterator[GgufFile]:
    file = demo_gguf(tmp_path)
    yield file
    file.path.unlink()


def test_the_dequantized_model_is_the_model(gguf: GgufFile, tmp_path: Path) -> None:
    """It knows what follows, by a wide margin: of a model whose weights are mixed up nothing does."""
    path = demo_checkpoint(tmp_path / "smollm2", gguf)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    model = transformers.LlamaForCausalLM.from_pretrained(path, dtype=torch.bfloat16, local_files_only=True)
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer.encode(f"{question}The capital of France is").ids])
    with torch.inference_mode():
        likely = model(ids).logits[0, -1].topk(5).indices.tolist()
    assert " Paris" in [tokenizer.decode([token]) for token in likely]
