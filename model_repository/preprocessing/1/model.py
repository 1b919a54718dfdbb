"""Text or messages to prompt ids and request settings."""

import msgspec
import numpy as np
import triton_python_backend_utils as pb_utils

from nemotron_serving.chat.preprocessor import Preprocessor
from nemotron_serving.contract import ENSEMBLE_INPUTS
from nemotron_serving.triton import error_response, open_package, request_fields


class TritonPythonModel:
    def initialize(self, _args):
        package, _ = open_package()
        self._preprocessor = Preprocessor(package)

    def execute(self, requests):
        return [self._respond(request) for request in requests]

    def _respond(self, request):
        try:
            ids, settings = self._preprocessor.prepare(request_fields(request, ENSEMBLE_INPUTS))
        except Exception as error:
            return error_response(request, error)
        settings_json = np.array([[msgspec.json.encode(settings)]], dtype=np.object_)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("input_ids", ids[np.newaxis]), pb_utils.Tensor("request_settings", settings_json)]
        )
