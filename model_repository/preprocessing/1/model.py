"""Text or messages to prompt ids and request settings."""

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils

from nemotron_serving.chat.preprocessor import Preprocessor
from nemotron_serving.contract import ENSEMBLE_INPUTS
from nemotron_serving.heartbeat import Heartbeat
from nemotron_serving.seal import Seal
from nemotron_serving.triton import answer, open_package, request_fields


class TritonPythonModel:
    def initialize(self, _args):
        package, options = open_package()
        self._preprocessor = Preprocessor(package)
        self._seal = Seal("request_settings", options.secret, "preprocessing")
        self._heartbeat = Heartbeat(options.runtime_dir, "preprocessing")

    def execute(self, requests):
        with self._heartbeat.work:
            return answer(requests, self._respond)

    def finalize(self):
        self._heartbeat.close()

    def _respond(self, request):
        ids, settings = self._preprocessor.prepare(request_fields(request, ENSEMBLE_INPUTS))
        settings_json = np.array([[self._seal.close(msgspec.json.encode(settings))]], dtype=np.object_)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("input_ids", ids[np.newaxis]), pb_utils.Tensor("request_settings", settings_json)]
        )
