"""Several processes at one port."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from nemotron_front import run
from nemotron_front.metrics import DIRECTORY_VARIABLE
from nemotron_front.options import FrontOptions
from nemotron_front.workers import Workers
from tests.waiting import wait_until

WAIT_S = 10


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork, which starts at once
def test_keys_that_change_while_a_worker_starts_are_read_when_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(_: object, __: object, ___: object, ____: object, parent: socket.socket) -> int:
        os.kill(os.getppid(), signal.SIGHUP)
        while signal.SIGHUP not in signal.sigpending():  # it would end here
            time.sleep(0.01)
        signal.signal(signal.SIGHUP, lambda *_: (tmp_path / f"{os.getpid()}").touch())
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        parent.send(b".")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        time.sleep(WAIT_S)
        return 1

    def began(pids: Sequence[int]) -> None:
        wait_until(lambda: {path.name for path in tmp_path.iterdir()} == {str(pid) for pid in pids}, WAIT_S)
        os.kill(os.getpid(), signal.SIGTERM)

    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)
    monkeypatch.setenv(DIRECTORY_VARIABLE, "")  # the workers' own is not for the tests after this one
    monkeypatch.setattr(run, "work", work)
    monkeypatch.setattr(run, "log_to_stderr", lambda _: None)
    with socket.socket() as listener:
        Workers(FrontOptions(workers=2), listener, began, lambda: None).run()
