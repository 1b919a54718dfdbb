"""What nemotron-build says instead of a traceback, and the exit status that goes with it.

BuildError                 1  anything else that cannot go on
UsageError                 2  a name, an option or a value that there is not
CheckpointError          3  the source: not Llama, damaged, of another tokenizer, or holding a pickle
UnsupportedError         4  it does not fit: precision and GPU, TP and heads, memory, no TensorRT-LLM here
VerificationError        5  what was made is not what the source says, or too inaccurate
DiskSpaceError           6  not enough room; says what to free
"""

from __future__ import annotations


class BuildError(Exception):
    """A build that cannot go on. The message is one line: what was found, what was expected, what to do."""

    exit_status = 1


class UsageError(BuildError):
    """The command names something that does not exist, or options that do not go together."""

    exit_status = 2


class CheckpointError(BuildError):
    """The source checkpoint cannot be used."""

    exit_status = 3


class UnsupportedError(BuildError):
    """The profile asks for what this GPU, this model or this machine cannot do."""

    exit_status = 4


class VerificationError(BuildError):
    """A converted checkpoint, an engine or a package differs from what it has to be."""

    exit_status = 5


class DiskSpaceError(BuildError):
    """The disk has not enough room."""

    exit_status = 6
