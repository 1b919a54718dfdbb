"""Prompt ids to output ids with in-flight batching, on whatever engine the package holds."""

from nemotron_serving.contract import CALLER, TOKEN_INPUTS
from nemotron_serving.engine import open_engine
from nemotron_serving.generation.service import GenerationService
from nemotron_serving.generation.settings import read_generation_request
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.host import IN_FLIGHT_METRIC, RuntimeDir
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.seal import Seal
from nemotron_serving.stages.generate import ResponseSink, SubscriptionSink, session_key
from nemotron_serving.stages.triton import answer_later, open_package, report_gauges, request_fields, request_id

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
        self._config = package.serving
        self._vocabulary = Vocabulary.load(package.tokenizer_path)
        self._engine = open_engine(package, options)
        self._service = GenerationService(
            self._engine,
            self._vocabulary,
            package.serving.limits,
            RuntimeDir(options.runtime_dir),
            options.stream_interval_ms,
            probe_id=options.probe_id,
            stops=options.stops,
        )
        self._settings_seal = Seal("request_settings", options.secret, "preprocessing")
        self._event_seal = Seal("stream_event", options.secret, "tensorrt_llm")
        self._gauges = report_gauges("tensorrt_llm", GAUGES, self._read_gauges)
        self._heartbeat = Heartbeat(options.runtime_dir, "tensorrt_llm", self._service.pulses)

    def execute(self, requests):
        with self._heartbeat.work:
            answer_later(requests, self._begin)

    def finalize(self):
        self._heartbeat.close()
        self._gauges.close()
        self._service.close()
        self._engine.close()

    def _begin(self, request):
        fields = request_fields(request, TOKEN_INPUTS)
        session = session_key(request, fields)
        if fields.get("open_session", False):
            self._service.open_session(SubscriptionSink(request))
            return
        sink = ResponseSink(request, self._event_seal)
        client_id, caller = request_id(request), fields.get(CALLER, "")
        if "acknowledged" in fields:
            self._service.acknowledge(session, fields["acknowledged"])
            sink.confirm()
            return
        if fields.get("stop", False):
            stopped = self._service.stop(client_id, caller, session)
            sink.confirm({"finish_reason": "cancelled" if stopped else ""})
            return
        if "request_settings" in fields:
            fields["request_settings"] = self._settings_seal.open(fields["request_settings"].encode()).decode()
        features = self._engine.features
        prompt_ids, settings = read_generation_request(fields, self._config, self._vocabulary, features)
        if session:
            self._service.submit_to_session(session, client_id, prompt_ids, settings, caller)
            sink.confirm({"num_input_tokens": len(prompt_ids)})
            return
        self._service.submit(client_id, prompt_ids, settings, sink, caller)

    def _read_gauges(self):
        stats = self._service.stats()
        values = (stats.in_flight, stats.running, stats.waiting, stats.kv_cache_used, stats.sessions)
        return dict(zip(GAUGES, values, strict=True))
