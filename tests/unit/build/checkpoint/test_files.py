"""The fingerprint of a checkpoint, and where it was downloaded from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nemotron_build.checkpoint.check import check_checkpoint
from tests.unit.build.tiny import tiny_checkpoint

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_OTHER = "89abcdef0123456789abcdef0123456789abcdef"


def test_the_same_files_anywhere_have_the_same_fingerprint(tmp_path: Path) -> None:
    one, two = (tiny_checkpoint(tmp_path / name, shards=2) for name in ("one", "two"))
    fingerprint = check_checkpoint(one).fingerprint()
    assert len(bytes.fromhex(fingerprint)) == 32
    assert check_checkpoint(two).fingerprint() == fingerprint


def test_every_file_counts(checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("Not read by a build.")
    found = check_checkpoint(checkpoint)
    before = found.fingerprint()
    (checkpoint / "README.md").write_text("Changed.")
    assert found.fingerprint() == before
    for file in found.files:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        after = found.fingerprint()
        assert after != before, file
        before = after


def test_fingerprint_tells_how_far_it_is(checkpoint: Path) -> None:
    told: list[tuple[str, int, int]] = []
    found = check_checkpoint(checkpoint)
    found.fingerprint(lambda *now: told.append(now))
    total = sum(file.stat().st_size for file in found.files)
    assert {name for name, _, _ in told} == {file.name for file in found.files}
    assert told[-1][1:] == (total, total)


def test_revision_in_the_hubs_cache(tmp_path: Path) -> None:
    snapshot = tiny_checkpoint(tmp_path / "models--nvidia--nemotron" / "snapshots" / _COMMIT)
    link = tmp_path / "link"
    link.symlink_to(snapshot)
    assert check_checkpoint(snapshot).revision == check_checkpoint(link).revision == _COMMIT


def test_snapshot_of_links_to_blobs(tmp_path: Path) -> None:
    blobs, snapshot = tiny_checkpoint(tmp_path / "blobs"), tmp_path / "snapshots" / _COMMIT
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    found = check_checkpoint(snapshot, scan_values=True)
    assert found.revision == _COMMIT
    assert found.fingerprint() == check_checkpoint(blobs).fingerprint()


def test_revision_beside_downloaded_files(checkpoint: Path) -> None:
    _downloaded(checkpoint, _COMMIT)
    assert check_checkpoint(checkpoint).revision == _COMMIT


@pytest.mark.parametrize("broken", ["other commit", "changed since", "no record", "garbage"])
def test_revision_that_is_not_sure(checkpoint: Path, broken: str) -> None:
    _downloaded(checkpoint, _COMMIT)
    record = checkpoint / ".cache/huggingface/download/tokenizer.json.metadata"
    if broken == "other commit":
        record.write_text(record.read_text().replace(_COMMIT, _OTHER))
    elif broken == "changed since":
        later = (checkpoint / "tokenizer.json").stat().st_mtime + 100
        os.utime(checkpoint / "tokenizer.json", (later, later))
    elif broken == "no record":
        record.unlink()
    else:
        record.write_text("garbage")
    assert check_checkpoint(checkpoint).revision is None


def _downloaded(checkpoint: Path, commit: str) -> None:
    records = checkpoint / ".cache/huggingface/download"
    records.mkdir(parents=True)
    for file in checkpoint.glob("*.*"):
        if file.is_file():
            (records / f"{file.name}.metadata").write_text(f"{commit}\n{'0' * 64}\n{file.stat().st_mtime + 0.5}\n")
