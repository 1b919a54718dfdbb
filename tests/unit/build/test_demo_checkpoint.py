"""The dequantized demo model is the model: it answers as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from .demo_checkpoint import demo_checkpoint


def test_it_answers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    path = demo_checkpoint(tmp_path / "smollm2")
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    model = transformers.LlamaForCausalLM.from_pretrained(path, dtype=torch.bfloat16, local_files_only=True)
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(output[0, ids.shape[1] :].tolist())
