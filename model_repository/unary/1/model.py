"""The ensemble for clients that only know infer: one request, one response."""

from nemotron_serving.triton import answer_later, open_package
from nemotron_serving.triton.unary import EndedResponses, EnsembleCall
from nemotron_serving.unary import UnaryFront


class TritonPythonModel:
    def initialize(self, _args):
        package, _ = open_package()
        self._ended = EndedResponses()
        self._front = UnaryFront(package.serving.limits.max_in_flight)

    def execute(self, requests):
        # From other threads: so the next one does not wait for it.
        answer_later(requests, lambda request: self._front.submit(EnsembleCall(request, self._ended)))

    def finalize(self):
        self._front.close()
