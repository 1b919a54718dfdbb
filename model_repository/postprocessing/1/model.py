"""Token ids of each stream to text, thinking and answer."""

import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import TEXT_OUTPUTS
from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.host import PROBE_PLACES, RuntimeDir
from nemotron_serving.metrics import Recorder
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.seal import Seal
from nemotron_serving.stages.postprocess import Postprocessor
from nemotron_serving.stages.triton import answer, open_package, report_metrics, response_of


class TritonPythonModel:
    def initialize(self, _args):
        package, options = open_package()
        vocabulary = Vocabulary.load(package.tokenizer_path)
        report_departure = RuntimeDir(options.runtime_dir).report_departure
        places = package.serving.limits.max_in_flight + PROBE_PLACES
        self._postprocessor = Postprocessor(vocabulary, places, report_departure)
        self._reasoning_tokens = 0
        self._most_ids = package.serving.limits.max_seq_len
        self._seal = Seal("stream_event", options.secret, "tensorrt_llm")
        self._recorder = Recorder()
        self._metrics = report_metrics("postprocessing", self._recorder, self._look)
        self._heartbeat = Heartbeat(options.runtime_dir, "postprocessing")

    def execute(self, requests):
        with self._heartbeat.work:
            return answer(requests, self._respond)

    def finalize(self):
        self._heartbeat.close()
        self._metrics.close()

    def _respond(self, request):
        sealed = pb_utils.get_input_tensor_by_name(request, "stream_event").as_numpy()
        ids = pb_utils.get_input_tensor_by_name(request, "output_ids").as_numpy()
        if ids.size > self._most_ids:  # before work is done that grows with it
            raise InvalidRequestError(
                "output_ids", f"{ids.size} were given, this server takes at most {self._most_ids}"
            )
        event = self._seal.open(sealed.item(), ids.tobytes())
        values = self._postprocessor.accept(event, ids.ravel().tolist(), request.is_cancelled)
        return response_of(values, TEXT_OUTPUTS)

    def _look(self):
        self._recorder.set("nemotron_postprocessing_streams", self._postprocessor.count_streams())
        tokens = self._postprocessor.num_reasoning_tokens
        self._recorder.count("nemotron_tokens_total", tokens - self._reasoning_tokens, kind="reasoning")
        self._reasoning_tokens = tokens
