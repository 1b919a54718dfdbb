"""Fixtures of the serving tests."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from nemotron_serving.output.detokenizer import Vocabulary
from tests.unit.serving.support import bpe_tokenizer, byte_tokenizer, vocabulary_of


@pytest.fixture(scope="session", params=["bytes", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Both kinds of vocabulary: one token a byte, and tokens that cut characters."""
    made: Tokenizer = byte_tokenizer() if request.param == "bytes" else bpe_tokenizer()
    return made


@pytest.fixture(scope="session")
def vocabulary(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return vocabulary_of(tokenizer, tmp_path_factory.mktemp("vocabulary"))
