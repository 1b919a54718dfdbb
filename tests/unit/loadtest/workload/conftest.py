"""Packages whose tokenizers measure prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron_build.simulated import byte_tokenizer
from tests.llama3 import llama3_tokenizer


@pytest.fixture(scope="session")
def llama3_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("llama3")
    llama3_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


@pytest.fixture(scope="session")
def byte_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of simulated packages: a token a byte."""
    directory = tmp_path_factory.mktemp("bytes")
    byte_tokenizer().save(str(directory / "tokenizer.json"))
    return directory
