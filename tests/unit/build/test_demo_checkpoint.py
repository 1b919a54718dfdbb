"""The dequantized demo model is the model: it answers as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_build.cpu.gguf_file import GgufFile
from tests.unit.build.demo_checkpoint import demo_checkpoint


def test_it_answers(demo_file: GgufFile, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    path = demo_checkpoint(tmp_path / "smollm2", demo_file)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    model = transformers.LlamaForCausalLM.from_pretrained(path, dtype=torch.bfloat16, local_files_only=True)
    question = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer.encode(f"{question}The capital of France is").ids])
    with torch.inference_mode():
        following = int(model(ids).logits[0, -1].argmax())
    assert tokenizer.decode([following]) == " Paris"
