"""A file server with the faults of real ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nemotron_build.demo.fetch import PinnedFile


@dataclass
class FileServer:
    """Serves one content at every path. Faults are set by the test while it runs.

    Attributes:
        cut_after: Bytes after which each response breaks off.
        ranges: Whether Range headers are honoured.
        status: Answered instead of the content.
        requests: The Range header of each request, "" for none.
    """

    content: bytes
    url: str = ""
    cut_after: int | None = None
    ranges: bool = True
    status: int | None = None
    requests: list[str] = field(default_factory=list)

    @property
    def pinned(self) -> PinnedFile:
        return PinnedFile("model.whl", len(self.content), hashlib.sha256(self.content).hexdigest())


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    served = FileServer(bytes(range(256)) * 4000)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            served.requests.append(wanted)
            if served.status:
                self.send_error(served.status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and served.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(served.content) - start))
            self.end_headers()
            self.wfile.write(served.content[start:][: served.cut_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/model.whl"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()
