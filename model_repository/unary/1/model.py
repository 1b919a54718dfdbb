"""The ensemble for clients that only know infer: one request, one response."""

from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.stages.ensemble_call import EndedResponses, EnsembleCall
from nemotron_serving.stages.triton import answer_later, open_package
from nemotron_serving.stages.unary import UnaryFront


class TritonPythonModel:
    def initialize(self, _args):
        package, options = open_package()
        self._ended = EndedResponses()
        self._front = UnaryFront(package.serving.limits.max_in_flight)
        self._heartbeat = Heartbeat(options.runtime_dir, "unary")

    def execute(self, requests):
        # From other threads: so the next one does not wait for it.
        with self._heartbeat.work:
            answer_later(requests, lambda request: self._front.submit(EnsembleCall(request, self._ended)))

    def finalize(self):
        self._heartbeat.close()
        self._front.close()
