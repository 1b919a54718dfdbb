"""GPUs of this machine through NVML; no driver or no library means no GPUs, and is no error."""

from __future__ import annotations

from typing import Any

from nemotron_loadtest.server.sample import GpuSample


class Gpus:
    """The GPUs, looked for once."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(pynvml.nvmlDeviceGetCount())]
        except ImportError:
            return
        except pynvml.NVMLError:
            return
        self._nvml = pynvml

    def read(self) -> tuple[GpuSample, ...]:
        """Those that answer."""
        found = (self._gpu(index, handle) for index, handle in enumerate(self._handles))
        return tuple(gpu for gpu in found if gpu)

    def _gpu(self, index: int, handle: Any) -> GpuSample | None:
        rates = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        power_mw = self._ask(self._nvml.nvmlDeviceGetPowerUsage, handle)
        if rates is None or memory is None:
            return None
        return GpuSample(
            index=index,
            busy=rates.gpu / 100,
            memory_bytes=memory.used,
            memory_total_bytes=memory.total,
            power_w=None if power_mw is None else power_mw / 1e3,
        )

    def _ask(self, question: Any, handle: Any) -> Any:
        try:
            return question(handle)
        except self._nvml.NVMLError:
            return None
