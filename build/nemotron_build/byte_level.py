"""The byte-level BPE that the demo's model and the simulated engine share."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers


def byte_level_bpe(tokens: list[str], merges: list[tuple[str, str]], control: list[str]) -> Tokenizer:
    """A byte-level BPE that takes digits one by one, as SmolLM's does.

    Args:
        tokens: Token strings by id, in the byte-level alphabet, control tokens included.
        merges: Pairs in order of priority.
        control: Tokens that are matched as a whole and skipped in decoding.
    """
    tokenizer = Tokenizer(models.BPE(vocab={token: id_ for id_, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return tokenizer
