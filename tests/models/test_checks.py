"""What is refused before any compute, and how it is said."""

from __future__ import annotations

import pytest

from selfstudy.errors import ModelError
from selfstudy.models.checks import check
from selfstudy.models.tokenizers import train_tokenizer
from tests.fakes import BRACKET_CORPUS, CORPUS, llama_tokenizer, tiny_llama, tiny_t5


@pytest.fixture
def tokenizer():
    return train_tokenizer(CORPUS, "causal", 300)


def llama(**changes):
    return tiny_llama(300, **changes).config


def test_both_families_pass(tokenizer):
    check(llama(), tokenizer, max_new_tokens=512)
    seq2seq = train_tokenizer(BRACKET_CORPUS, "seq2seq", 200)
    check(tiny_t5(len(seq2seq)).config, seq2seq, max_new_tokens=10**6)  # relative positions: no limit


def test_more_rows_than_tokens_are_fine(tokenizer):
    check(tiny_llama(len(tokenizer) + 64).config, tokenizer)


def test_tokens_without_rows(tokenizer):
    last = len(tokenizer) - 1
    with pytest.raises(
        ModelError, match=rf"with id {last}, but the model has {last} embedding rows .ids 0 to {last - 1}"
    ):
        check(tiny_llama(last).config, tokenizer)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<think>"])
    with pytest.raises(ModelError, match=r"'<think>'.*Embeddings are never resized"):
        check(tiny_llama(rows).config, tokenizer)


def test_no_eos(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no EOS token, so a model could never learn to stop; set eos_token"):
        check(llama(), tokenizer)


def test_eos_outside_the_vocabulary(tokenizer):
    tokenizer.eos_token = "<end>"
    with pytest.raises(ModelError, match="EOS is '<end>', which is not in the vocabulary"):
        check(llama(), tokenizer)


def test_eos_that_is_unknown():
    tokenizer = llama_tokenizer()
    tokenizer.eos_token = "<unk>"
    with pytest.raises(ModelError, match=r"EOS is '<unk>', which is .* stands for unknown tokens"):
        check(tiny_llama(len(tokenizer)).config, tokenizer)


def test_no_decoder_start():
    tokenizer = train_tokenizer(BRACKET_CORPUS, "seq2seq", 200)
    with pytest.raises(ModelError, match="t5 config has no decoder_start_token_id"):
        check(tiny_t5(len(tokenizer), decoder_start_token_id=None).config, tokenizer)


def test_positions(tokenizer):
    with pytest.raises(ModelError, match=r"sampling\.max_new_tokens=513 is more than the 512 positions of the llama"):
        check(llama(), tokenizer, max_new_tokens=513)


def test_chat_template(tokenizer):
    with pytest.raises(ModelError, match=r"no chat template; set prompt\.chat: false"):
        check(llama(), tokenizer, chat=True)
    tokenizer.chat_template = "{{ messages }}"
    check(llama(), tokenizer, chat=True)
