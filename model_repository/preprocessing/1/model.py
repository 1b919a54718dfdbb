"""Text or messages to prompt ids and request settings; token ids to their text."""

import msgspec
import triton_python_backend_utils as pb_utils

from nemotron_serving.contract import PREPROCESSING_INPUTS, PREPROCESSING_OUTPUTS
from nemotron_serving.generation.counting import outcome_of
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.metrics import Recorder
from nemotron_serving.seal import Seal
from nemotron_serving.stages.preprocess import LongLane, Preprocessor
from nemotron_serving.stages.triton import answer_later, open_package, report_metrics, request_fields, send_response

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, _args):
        package, options = open_package()
        self._preprocessor = Preprocessor(package)
        self._seal = Seal("request_settings", options.secret, "preprocessing")
        self._lane = LongLane(package.serving.limits.max_in_flight)
        self._recorder = Recorder()
        self._metrics = report_metrics("preprocessing", self._recorder)
        self._heartbeat = Heartbeat(options.runtime_dir, "preprocessing", lambda: {"long prompts": self._lane.pulse()})

    def execute(self, requests):
        with self._heartbeat.work:
            answer_later(requests, self._begin, self._count)

    def finalize(self):
        self._heartbeat.close()
        self._metrics.close()
        self._lane.close()

    def _begin(self, request):
        fields = request_fields(request, PREPROCESSING_INPUTS)
        if self._preprocessor.is_long(fields):
            self._lane.submit(lambda: answer_later([request], lambda _: self._answer(request, fields), self._count))
        else:
            self._answer(request, fields)

    def _answer(self, request, fields):
        if "input_ids" in fields:
            values = {"prompt_text": self._preprocessor.text_of(fields)}
        else:
            ids, settings = self._preprocessor.prepare(fields)
            values = {"input_ids": ids, "request_settings": self._seal.close(msgspec.json.encode(settings))}
            if "prompt_text" in request.requested_output_names():
                values["prompt_text"] = self._preprocessor.prompt_text(ids)
        send_response(request.get_response_sender(), values, PREPROCESSING_OUTPUTS, _FINAL)

    def _count(self, error):
        self._recorder.count("nemotron_requests_total", outcome=outcome_of(error), thinking="unknown")
