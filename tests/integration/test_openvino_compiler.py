"""That the real pipeline finds what was compiled beside it, and that its memory can be had back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemotron_serving.engine import EngineRequest, Sampling
from nemotron_serving.engine.openvino.grammars import Form
from nemotron_serving.engine.openvino.library import TokenizerCompiler, add_request, open_pipeline
from nemotron_serving.guide import response_guide
from nemotron_serving.package import Package


def costly(letter: str) -> str:
    """A grammar that takes some 10 times as long to compile as a token takes to generate."""
    guide = response_guide(json.dumps({"type": "choice", "choice": [letter * count for count in range(1, 161)]}))
    assert guide is not None
    return guide


def cpu_s(work: Callable[[], Any]) -> float:
    """Seconds of all processors, which do not depend on what else runs here."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def test_what_was_compiled_is_found_until_it_is_cleared(demo_package: Path) -> None:
    package = Package.load(demo_package)
    pipeline = open_pipeline(package, 1, None)

    def token(guide: str | None = None) -> None:
        request = EngineRequest(1, [5, 6, 7], 1, Sampling(), frozenset(package.serving.stop_token_ids), guide)
        handle = add_request(pipeline, request)
        while pipeline.has_non_finished_requests():
            pipeline.step()
        assert handle.read_all()

    token()
    compiler = TokenizerCompiler(pipeline, package.engine_path)
    compile_form = compiler.of_thread()
    compile_form(Form("grammar", costly("a")))
    compiled = cpu_s(lambda: compile_form(Form("grammar", costly("b"))))
    found = cpu_s(lambda: token(costly("b")))
    compiler.clear()
    anew = cpu_s(lambda: token(costly("b")))
    assert found < compiled / 2
    assert found < anew / 2
    with pytest.raises(RuntimeError):
        compile_form(Form("grammar", 'root ::= "a" )'))
    token(costly("b"))
