"""Fixtures of the serving tests, and hypothesis without deadlines: the machine may be busy."""

from __future__ import annotations

import pytest
from hypothesis import settings
from tokenizers import Tokenizer

from nemotron_serving.output.detokenizer import Vocabulary
from tests.unit.serving.support import bpe_tokenizer, byte_tokenizer, vocabulary_of

settings.register_profile("serving", deadline=None, max_examples=80, database=None)
settings.load_profile("serving")


@pytest.fixture(scope="session", params=["bytes", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Both kinds of vocabulary: one token a byte, and tokens that cut characters."""
    made: Tokenizer = byte_tokenizer() if request.param == "bytes" else bpe_tokenizer()
    return made


@pytest.fixture(scope="session")
def vocabulary(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return vocabulary_of(tokenizer, tmp_path_factory.mktemp("vocabulary"))
