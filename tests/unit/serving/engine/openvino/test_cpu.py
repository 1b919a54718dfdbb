"""What OpenVINO is told where oneDNN is limited to an older set of instructions, or the process to few cores."""

from __future__ import annotations

import pytest

from nemotron_serving.engine.openvino.cpu import default_threads, isa_properties, physical_cores

_PLAIN = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


@pytest.mark.parametrize("limit", ["AVX2", "avx2", "AVX2_VNNI", "AVX512_CORE"])
def test_without_vnni_neither_bf16_nor_rounded_inputs(limit: str) -> None:
    assert isa_properties({"ONEDNN_MAX_CPU_ISA": limit}) == _PLAIN


def test_with_vnni_inputs_are_rounded() -> None:
    assert isa_properties({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}) == {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.mark.parametrize("environment", [{}, {"ONEDNN_MAX_CPU_ISA": "ALL"}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}])
def test_otherwise_openvino_chooses(environment: dict[str, str]) -> None:
    assert isa_properties(environment) == {}


def test_a_quota_of_fewer_cores_bounds_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("psutil.cpu_count", lambda **_: 4)
    assert physical_cores() == 4
    assert [default_threads(paid) for paid in (1, 3, 4, 6, None)] == [1, 3, None, None, None]
