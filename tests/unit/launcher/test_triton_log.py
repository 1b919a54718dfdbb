# ruff: noqa: E501 - the log lines are as Triton writes them
from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_serving.launcher.triton_log import TritonLog, failure_lines

CUDA = 'E1123 08:09:41.878880 6393 server.cc:241] "CudaDriverHelper has not been initialized."\n'
END = "error: creating server: Internal - failed to load all models\n"
AT = r"\n\nAt:\n  /models/tensorrt_llm/1/model.py(9): initialize\n"
REFUSED = rf"""I1123 08:09:43.252706 6497 pb_stub.cc:366] "Failed to initialize Python stub: PackageError: no{AT}"
E1123 08:09:43.464818 6497 backend_model.cc:692] "ERROR: Failed to create instance: PackageError: no{AT}"
E1123 08:09:43.464926 6497 model_lifecycle.cc:642] "failed to load 'tensorrt_llm' version 1: Internal: PackageError: no{AT}"
E1123 08:09:43.464930 6497 model_repository_manager.cc:703] "Invalid argument: ensemble 'ensemble' depends on 'tensorrt_llm' which has no loaded version"
"""
IMPORT = r"""E1123 08:09:49.973981 6616 model_lifecycle.cc:642] "failed to load 'ensemble' version 1: Internal: ModuleNotFoundError: No module named 'nosuch'\n\nAt:\n  <frozen importlib._bootstrap>(241): _call_with_frames_removed\n"
"""
CONFIG = """[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format inference.ModelConfig: 5:48: Unknown value.
E1123 08:09:46.497664 6562 model_repository_manager.cc:1460] "Poll failed for model directory 'ensemble': failed to read text proto from /models/ensemble/config.pbtxt"
"""
PORT = """E1123 08:09:42.104603844    6393 chttp2_server.cc:1060]                UNKNOWN:No address added out of total 1 resolved for '127.0.0.1:9101' {children:[]}
E1123 08:09:42.108172 6393 main.cc:245] "failed to start GRPC service: Unavailable - Socket '127.0.0.1:9101' already in use "
"""


KILLED = """E1128 22:54:40.704045 23911 backend_model.cc:692] "ERROR: Failed to create instance: Stub process 'tensorrt_llm_0_0' is not healthy."
E1128 22:54:40.704197 23911 model_lifecycle.cc:642] "failed to load 'tensorrt_llm' version 1: Internal: Stub process 'tensorrt_llm_0_0' is not healthy."
"""

ABORTED = """terminate called after throwing an instance of 'boost::interprocess::lock_exception'
  what():  boost::interprocess::lock_exception
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (REFUSED, ["model 'tensorrt_llm': no"]),
        (REFUSED + REFUSED.replace("tensorrt_llm", "unary"), ["models 'tensorrt_llm', 'unary': no"]),
        (
            REFUSED + IMPORT,
            ["model 'tensorrt_llm': no", "model 'ensemble': ModuleNotFoundError: No module named 'nosuch'"],
        ),
        (IMPORT, ["model 'ensemble': ModuleNotFoundError: No module named 'nosuch'"]),
        (
            CONFIG,
            [
                "Error parsing text-format inference.ModelConfig: 5:48: Unknown value.",
                "Poll failed for model directory 'ensemble': "
                "failed to read text proto from /models/ensemble/config.pbtxt",
            ],
        ),
        (
            KILLED,
            [
                "model 'tensorrt_llm': its Python process ended or was killed while it loaded the model. "
                "--verbose shows what it wrote last, dmesg what the kernel killed."
            ],
        ),
        (PORT, ["failed to start GRPC service: Unavailable - Socket '127.0.0.1:9101' already in use"]),
        (ABORTED, ["boost::interprocess::lock_exception"]),
        ("", []),
    ],
)
def test_the_lines_that_say_why(log: str, expected: list[str]) -> None:
    assert failure_lines(CUDA + log + END) == expected


def test_only_what_follows_the_mark_is_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "triton.log"
    log = TritonLog(path)
    assert (log.reason(), log.new_text()) == ("", ""), "Triton has not written yet"
    path.write_text(IMPORT)
    log.mark()
    assert log.reason() == ""
    with path.open("a") as file:
        file.write(PORT)
    assert "already in use" in log.reason()


def test_a_new_file_is_for_this_user_alone_and_one_that_was_there_stays_as_it_is(tmp_path: Path) -> None:
    new, old = tmp_path / "new.log", tmp_path / "old.log"
    old.write_text("yesterday\n")
    old.chmod(0o640)
    for path in (new, old):
        TritonLog(path).append().close()
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o600, 0o640]
    assert old.read_text() == "yesterday\n"


def test_it_tells_whether_callers_reached_triton(tmp_path: Path) -> None:
    path = tmp_path / "triton.log"
    log = TritonLog(path)
    path.write_text('I1128 22:45:31.52 25926 grpc_server.cc:2558] "Started GRPCInferenceService at 127.0.0.1:39897"\n')
    assert log.listening()
    log.mark()
    assert not log.listening()


def test_new_text_comes_once_and_not_from_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "triton.log"
    path.write_text("yesterday\n")
    log = TritonLog(path)
    with path.open("a") as file:
        file.write("today\n")
    assert log.new_text() == "today\n"
    assert log.new_text() == ""


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    log = TritonLog(tmp_path / "logs" / "triton.log")
    with log.append() as file:
        file.write(b"E1128 22:34:27.000000 1 main.cc:1] it failed\n")
    assert log.reason() == "it failed"


def test_the_models_that_take_so_long(tmp_path: Path) -> None:
    path = tmp_path / "triton.log"
    log = TritonLog(path)
    path.write_text(
        """I1128 23:22:03.106351 1 model_lifecycle.cc:472] "loading: preprocessing:1"
I1128 23:22:03.106373 1 model_lifecycle.cc:472] "loading: tensorrt_llm:1"
I1128 23:22:03.106375 1 model_lifecycle.cc:472] "loading: unary:1"
I1128 23:22:04.106373 1 model_lifecycle.cc:839] "successfully loaded 'preprocessing'"
E1128 22:59:00.035727 1 model_lifecycle.cc:642] "failed to load 'unary' version 1: Internal: RuntimeError: no"
"""
    )
    assert log.loading() == ("tensorrt_llm",)
    log.mark()
    assert log.loading() == ()


def test_a_log_that_grows_too_long_keeps_its_end(tmp_path: Path) -> None:
    log = TritonLog(tmp_path / "triton.log", most_bytes=1000, kept_bytes=200)
    shown = ""
    with log.append() as file:
        for number in range(400):
            if number == 395:
                log.mark()
            file.write(b"E1128 22:34:27.000000 1 main.cc:1] line %03d\n" % number)
            file.flush()
            shown += log.new_text()
            log.shorten()
            assert log.path.stat().st_size <= 1000
    assert [line[-3:] for line in shown.splitlines()] == [f"{number:03}" for number in range(400)]
    assert log.reason() == "line 398\nline 399"


def test_a_log_that_is_not_there_needs_no_shortening(tmp_path: Path) -> None:
    TritonLog(tmp_path / "triton.log", most_bytes=0).shorten()
    assert list(tmp_path.iterdir()) == []
