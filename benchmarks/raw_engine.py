"""OpenVINO's pipeline alone, in a process of its own: the base of the ratios.

Reads one JSON job a line ({"numbers": [...], "max_tokens": n}) and answers each with one line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.workload import question
from nemotron_serving.engine import EngineRequest, Sampling
from nemotron_serving.engine.openvino.library import add_request, open_pipeline
from nemotron_serving.package import Package
from nemotron_serving.stages.preprocess import Preprocessor


def main() -> None:
    """Serve jobs from standard input until it ends."""
    package = Package.load(Path(sys.argv[1]))
    pipeline = open_pipeline(package, kv_cache_gib=4, threads=None)
    preprocessor = Preprocessor(package)
    run(package, preprocessor, pipeline, [0], 4)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        job = json.loads(line)
        result = run(package, preprocessor, pipeline, job["numbers"], job["max_tokens"])
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def run(
    package: Package, preprocessor: Preprocessor, pipeline: Any, numbers: list[int], max_tokens: int
) -> dict[str, float]:
    """Generate for all prompts at once; tokens/s of all and time to the first token of the first one."""
    sampling = Sampling(min_tokens=max_tokens)
    prompts = [preprocessor.prepare({"text_input": question(number)})[0] for number in numbers]
    begin = time.perf_counter()
    handles = []
    for number, ids in zip(numbers, prompts, strict=True):
        request = EngineRequest(number, ids.tolist(), max_tokens, sampling, frozenset(package.serving.stop_token_ids))
        handles.append(add_request(pipeline, request))
    tokens, first = 0, 0.0
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for handle in handles:
            if handle.can_read():
                tokens += sum(len(output.generated_ids) for output in handle.read().values())
        first = first or time.perf_counter() - begin
    seconds = time.perf_counter() - begin
    return {"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds, "ttft_ms": 1000 * first}


if __name__ == "__main__":
    main()
