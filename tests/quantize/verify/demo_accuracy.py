"""Measures FP8 on the demo's model, for docs/accuracy.md: python -m tests.quantize.verify.demo_accuracy."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec

from nemotron_build.checkpoint.check import Checkpoint, check_checkpoint
from nemotron_build.convert.calibration import calibration_texts, held_out_texts
from nemotron_build.convert.conversion import convert
from nemotron_build.profiles import Accuracy, load_profile
from nemotron_build.verify.converted import verify_converted
from tests.unit.build.demo_checkpoint import demo_checkpoint, demo_gguf

ANY = Accuracy(min_top1_agreement=0, max_mean_kl=1e9, max_perplexity_ratio=1e9)
KINDS = (("engine", "bf16"), ("engine", "fp8"), ("pytorch", "bf16"), ("pytorch", "fp8"))


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = check_checkpoint(demo_checkpoint(Path(scratch) / "source", demo_gguf(Path(scratch))))
        for flow, kv_cache in KINDS:
            measure(source, Path(scratch) / f"{flow}-{kv_cache}", flow, kv_cache)


def measure(source: Checkpoint, converted: Path, flow: str, kv_cache: str) -> None:
    changes = {"flow": flow, "kv_cache": kv_cache, "accuracy": ANY}
    profile = msgspec.structs.replace(load_profile("h100-fp8"), **changes)
    texts = calibration_texts(source, None, profile.calibration.samples)
    start = time.monotonic()
    converted.mkdir()
    convert(source, profile, converted, calibration=texts, log=converted.with_suffix(".log"), report=ignore)
    made = time.monotonic()
    figures = verify_converted(converted, source, profile, held_out=held_out_texts(source), report=ignore)
    print(flow, f"KV {kv_cache}:", figures)
    print(f"  converted in {made - start:.0f} s with {len(texts)} texts, verified in {time.monotonic() - made:.0f} s")


def ignore(_what: str, _done: int, _total: int) -> None:
    pass


if __name__ == "__main__":
    main()
