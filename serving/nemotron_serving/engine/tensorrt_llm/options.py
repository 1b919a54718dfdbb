"""What `nemotron-serve`'s environment says about TensorRT-LLM, and what it must not say."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping

import msgspec

from nemotron_serving.errors import PackageError

_PREFIX = "TENSORRT_LLM_ENGINE_"
# Variables of a job that mpirun or srun started. TensorRT-LLM spawns workers of its own, which would take themselves
# for part of that job. What configures MPI (OMPI_MCA_*, PMIX_MCA_*) stays.
_JOB = re.compile(
    r"OMPI_(COMM_WORLD_|MCA_orte_|UNIVERSE_SIZE$|FIRST_RANKS$|APP_CTX_NUM_PROCS$)"
    r"|ORTE_|PMI_|PMIX_(?!MCA_)|TLLM_SPAWN_PROXY_PROCESS$"
)


class TensorRTLLMOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What depends on the machine and its TensorRT-LLM. Each is the variable TENSORRT_LLM_ENGINE_<NAME>.

    Attributes:
        abort: Whether an abandoned request is aborted in the engine. Switched off, its tokens are dropped and the
            engine works on it to its end: for a release whose abort does harm (TensorRT-LLM issue #10810).
        tensor_parallel_size: GPUs that a checkpoint is spread over. An engine has its own number built in.
    """

    abort: bool = True
    tensor_parallel_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> TensorRTLLMOptions:
        """Read the variables.

        Raises:
            PackageError: a value that is not of its type.
        """
        given = {
            name: value for name in cls.__struct_fields__ if (value := environment.get(_PREFIX + name.upper(), ""))
        }
        try:
            options = msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise PackageError(f"{_PREFIX}* variables: {error}. Correct or unset the variable.") from error
        if options.tensor_parallel_size < 1:
            raise PackageError(f"{_PREFIX}TENSOR_PARALLEL_SIZE is {options.tensor_parallel_size}, expected at least 1.")
        return options


def clear_job_variables(environment: MutableMapping[str, str] = os.environ) -> None:
    """Remove what an MPI job left in the environment; to be called before tensorrt_llm is imported."""
    for name in [name for name in environment if _JOB.match(name)]:
        del environment[name]
