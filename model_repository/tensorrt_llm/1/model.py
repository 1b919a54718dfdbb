"""Prompt ids to output ids with in-flight batching, on whatever engine the package holds."""

from nemotron_serving.engine import open_engine
from nemotron_serving.generation.service import GenerationService
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.host import IN_FLIGHT_METRIC, RuntimeDir
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.stages.generate import GenerationFront
from nemotron_serving.stages.triton import answer_later, open_package, report_gauges

GAUGES = {
    IN_FLIGHT_METRIC: "Requests admitted and not yet answered in full",
    "nemotron_requests_running": "Requests that are generating",
    "nemotron_requests_waiting": "Requests that wait for a place in the batch",
    "nemotron_kv_cache_used_ratio": "Share of the KV cache in use, 0 to 1",
    "nemotron_sessions": "Sessions that are open, with requests or without",
}


class TritonPythonModel:
    def initialize(self, _args):
        package, options = open_package()
        vocabulary = Vocabulary.load(package.tokenizer_path)
        self._engine = open_engine(package, options)
        self._service = GenerationService(
            self._engine,
            vocabulary,
            package.serving.limits,
            RuntimeDir(options.runtime_dir),
            options.stream_interval_ms,
            probe_id=options.probe_id,
            stops=options.stops,
        )
        self._front = GenerationFront(self._service, package.serving, vocabulary, self._engine.features, options.secret)
        self._gauges = report_gauges("tensorrt_llm", GAUGES, self._read_gauges)
        self._heartbeat = Heartbeat(options.runtime_dir, "tensorrt_llm", self._service.pulses)

    def execute(self, requests):
        with self._heartbeat.work:
            answer_later(requests, self._front.begin)

    def finalize(self):
        self._heartbeat.close()
        self._gauges.close()
        self._service.close()
        self._engine.close()

    def _read_gauges(self):
        stats = self._service.stats()
        values = (stats.in_flight, stats.running, stats.waiting, stats.kv_cache_used, stats.sessions)
        return dict(zip(GAUGES, values, strict=True))
