"""Prompt ids to output ids with in-flight batching, on whatever engine the package holds."""

from nemotron_serving.engine import open_engine
from nemotron_serving.generation.counting import tell_of_package
from nemotron_serving.generation.service import GenerationService
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.host import RuntimeDir
from nemotron_serving.metrics import Recorder
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.stages.generate import GenerationFront
from nemotron_serving.stages.triton import answer_later, open_package, report_metrics


class TritonPythonModel:
    def initialize(self, _args):
        package, options = open_package()
        vocabulary = Vocabulary.load(package.tokenizer_path)
        self._engine = open_engine(package, options)
        self._recorder = Recorder()
        self._service = GenerationService(
            self._engine,
            vocabulary,
            package.serving.limits,
            RuntimeDir(options.runtime_dir),
            options.stream_interval_ms,
            probe_id=options.probe_id,
            stops=options.stops,
            recorder=self._recorder,
        )
        self._front = GenerationFront(self._service, package.serving, vocabulary, self._engine.features, options.secret)
        tell_of_package(self._recorder, package, self._engine.limits)
        self._metrics = report_metrics("tensorrt_llm", self._recorder, self._look)
        self._heartbeat = Heartbeat(options.runtime_dir, "tensorrt_llm", self._service.pulses)

    def execute(self, requests):
        with self._heartbeat.work:
            answer_later(requests, self._front.begin)

    def finalize(self):
        self._heartbeat.close()
        self._metrics.close()
        self._service.close()
        self._engine.close()

    def _look(self):
        self._service.stats().tell(self._recorder)
