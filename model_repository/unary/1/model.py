"""The ensemble for clients that only know infer: one request, one response."""

from nemotron_serving.triton import open_package
from nemotron_serving.triton.unary import EndedResponses, EnsembleCall
from nemotron_serving.unary import UnaryFront


class TritonPythonModel:
    def initialize(self, _args):
        package, _ = open_package()
        self._ended = EndedResponses()
        self._front = UnaryFront(package.serving.limits.max_in_flight)

    def execute(self, requests):
        # Each is answered later, from another thread: so the next one does not wait for it.
        for request in requests:
            call = EnsembleCall(request, self._ended)
            try:
                self._front.submit(call)
            except Exception as error:
                call.fail(error)

    def finalize(self):
        self._front.close()
