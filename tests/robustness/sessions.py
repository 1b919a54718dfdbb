"""Sessions by hand, over gRPC alone: right ones, and such as no client of ours would hold."""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as services

CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
_PATIENCE_S = 120.0
Value = bool | int | float | str | bytes
_KINDS: dict[type, tuple[str, str]] = {
    bool: ("BOOL", "bool_contents"),
    int: ("INT32", "int_contents"),
    float: ("FP32", "fp32_contents"),
    bytes: ("BYTES", "bytes_contents"),
    str: ("BYTES", "bytes_contents"),
}


def request_of(model: str, request_id: str = "", **inputs: Value | list[str]) -> pb.ModelInferRequest:
    """A request with these inputs: a value each, or a list of texts."""
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    for name, value in inputs.items():
        values = value if isinstance(value, list) else [value]
        datatype, kind = ("UINT64", "uint64_contents") if name == "seed" else _KINDS[type(values[0])]
        one = request.inputs.add(name=name, datatype=datatype, shape=[1, len(values)])
        getattr(one.contents, kind).extend(text.encode() if isinstance(text, str) else text for text in values)
    return request


@dataclass(frozen=True)
class Answer:
    """One response of the stream.

    Attributes:
        id: Of the request that it answers.
        error: What was wrong with it.
        frame: The session's frame, where it is one.
        outputs: Names of the outputs.
    """

    id: str
    error: str
    frame: dict[str, Any] | None
    outputs: tuple[str, ...]


class SessionCaller:
    """One gRPC stream. Nothing is read of it but what its methods wait for.

    Args:
        address: Of the server's gRPC.
        channel: The connection, which others may use as well; one of its own if it is left out.
    """

    def __init__(self, address: str, channel: grpc.Channel | None = None) -> None:
        self._own = None if channel else grpc.insecure_channel(address, CHANNEL)
        self._requests: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()
        stub = services.GRPCInferenceServiceStub(channel or self._own)
        self.call: Any = stub.ModelStreamInfer(iter(self._requests.get, None), timeout=_PATIENCE_S)
        self.key = ""

    def __enter__(self) -> SessionCaller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave: the stream is cancelled, and the connection closed if it is its own."""
        self._requests.put(None)
        self.call.cancel()
        if self._own:
            self._own.close()

    def say_no_more(self) -> None:
        """Close the stream on this side; what the server has to say still comes."""
        self._requests.put(None)

    def send(self, model: str, request_id: str = "", **inputs: Value | list[str]) -> None:
        """Send a request with these inputs."""
        self._requests.put(request_of(model, request_id, **inputs))

    def open(self) -> str:
        """Begin the session, and wait for its key."""
        self.send("tensorrt_llm", open_session=True)
        self.key = str(self.frame()["session"])
        return self.key

    def ask(self, request_id: str, tokens: int, text: str = "[sim:random]", key: str | None = None) -> None:
        """Ask for a stream of so many tokens."""
        self.send(
            "session",
            request_id,
            text_input=text,
            max_tokens=tokens,
            stream=True,
            session=self.key if key is None else key,
        )

    def stop(self, request_id: str, key: str | None = None) -> None:
        """Have a request end."""
        self.send("tensorrt_llm", request_id, stop=True, session=self.key if key is None else key)

    def acknowledge(self, number: int, key: str | None = None) -> None:
        """Say that the frames up to this one were read."""
        self.send("tensorrt_llm", acknowledged=number, session=self.key if key is None else key)

    def answers(self) -> Iterator[Answer]:
        """What comes, until the server ends the stream."""
        for response in self.call:
            infer = response.infer_response
            names = tuple(output.name for output in infer.outputs)
            frame = None
            if "frame" in names:
                frame = json.loads(infer.raw_output_contents[names.index("frame")][4:])
            yield Answer(infer.id, response.error_message, frame, names)

    def answer(self) -> Answer:
        """What comes next."""
        return next(self.answers())

    def frame(self) -> dict[str, Any]:
        """The next frame; an error before it is raised."""
        for answer in self.answers():
            if answer.error:
                raise ValueError(answer.error)
            if answer.frame is not None:
                return answer.frame
        raise ValueError("the server has ended the stream")

    def text(self, request_id: str) -> str:
        """Read until this request has ended, as if nothing had to be acknowledged: its text."""
        text = ""
        while True:
            for one in self.frame().get("responses", ()):
                if one["id"] == request_id:
                    if "error" in one:
                        raise ValueError(one["error"])
                    text += str(one.get("text_output", ""))
                    if "finish_reason" in one:
                        return text

    def read_until_ended(self, *request_ids: str) -> dict[str, str]:
        """Read and acknowledge until these requests have ended: the finish reason of each, or its error."""
        ended: dict[str, str] = {}
        for answer in self.answers():
            if answer.error:
                ended[answer.id] = answer.error
            if answer.frame is not None:
                self.acknowledge(answer.frame["frame"])
                for one in answer.frame.get("responses", ()):
                    if end := one.get("error") or one.get("finish_reason"):
                        ended[one["id"]] = end
            if ended.keys() >= set(request_ids):
                break
        return ended


def _main() -> None:
    """Hold a session with so many requests until killed, for tests of what is then."""
    address, count, tokens = sys.argv[1:]
    caller = SessionCaller(address)
    caller.open()
    for number in range(int(count)):
        caller.ask(f"{number}", int(tokens))
    caller.read_until_ended("never")


if __name__ == "__main__":
    _main()
