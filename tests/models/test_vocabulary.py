"""Bytes of tokens, and the choice of a notation."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selfstudy.errors import ModelError
from selfstudy.judging.notation import ANGLE, BRACKET
from selfstudy.models.tokenizers import train_tokenizer
from selfstudy.models.vocabulary import check_notation, choose_notation, token_texts
from tests.fakes import BRACKET_CORPUS, CORPUS, byte_tokenizer, llama_tokenizer, sentencepiece_tokenizer


def wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    """Characters and the commonest parts of words, counted here: the library's trainer finds others each time."""
    digits, letters, signs = "0123456789", "abcdefghijklmnopqrstuvwxyzTS", "+-*/().=[]#"
    texts = [text.replace("####", "#") for text in BRACKET_CORPUS]
    texts += [f"{a}{sign}{b} ({a} {a})*." for a in digits for sign in signs for b in digits]
    counts: Counter[str] = Counter()
    for word in " ".join(texts).split():
        ends = range(1, len(word) + 1)
        counts.update("##" * (start > 0) + word[start:end] for end in ends for start in range(end))
    characters = [begins + one for one in digits + letters + signs for begins in ("", "##")]
    pieces = sorted(counts.keys() - set(characters), key=lambda piece: (-counts[piece], piece))
    vocabulary = ["[PAD]", "[SEP]", "[UNK]", *characters, *pieces][:500]
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(vocabulary[:3])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        eos_token="[SEP]",
        unk_token="[UNK]",
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS = {
    "byte": byte_tokenizer,
    "byte_unsplit": lambda: byte_tokenizer(split_digits=False),
    "sentencepiece": sentencepiece_tokenizer,
    "llama": llama_tokenizer,
    "llama_new": lambda: llama_tokenizer(legacy=False),
    "wordpiece": wordpiece_tokenizer,
}


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def tokenizer(request):
    made = TOKENIZERS[request.param]()
    made.add_tokens(["=8", ">>5", AddedToken("+ 3=", normalized=False)])
    return made


def test_concatenated_texts_are_what_decode_gives(tokenizer):
    texts = token_texts(tokenizer)
    assert len(texts) == len(tokenizer)
    for text in [*CORPUS[::40], *BRACKET_CORPUS[::40], "a + 3=8 and =8>>5", "naïve × 7 €"]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        joined = b"".join(texts[i] for i in ids).decode(errors="replace")
        decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert joined.removeprefix(" ") == decoded.removeprefix(" ")


def test_special_tokens_say_nothing(tokenizer):
    texts = token_texts(tokenizer)
    assert all(texts[i] == b"" for i in tokenizer.all_special_ids)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_any_tokens_decode_to_their_texts(picks):
    for name in ("byte", "llama", "wordpiece"):
        tokenizer = _KEPT.setdefault(name, TOKENIZERS[name]())
        texts = _KEPT.setdefault(name + "/texts", token_texts(tokenizer))
        anchor = tokenizer("0", add_special_tokens=False)["input_ids"]
        ids = [*anchor, *(pick % len(tokenizer) for pick in picks)]
        joined = b"".join(texts[i] for i in ids)
        decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        try:
            text = joined.decode()
        except UnicodeDecodeError:
            continue  # decoders differ in how they show half a character
        assert text.removeprefix(" ") == decoded.removeprefix(" ")


_KEPT: dict[str, object] = {}


def test_every_byte_has_a_token_in_byte_level_vocabularies():
    texts = token_texts(byte_tokenizer())
    assert {bytes([byte]) for byte in range(256)} <= set(texts)


def test_notation_follows_from_the_round_trip():
    assert choose_notation(byte_tokenizer()) is ANGLE
    assert choose_notation(llama_tokenizer()) is ANGLE
    assert choose_notation(train_tokenizer(BRACKET_CORPUS, "seq2seq", 300)) is BRACKET
    check_notation(byte_tokenizer(), BRACKET)


def test_what_cannot_be_spelt_is_refused_with_what_failed():
    # Word pieces mark what continues a word with "##", so the answer line cannot be spelt.
    with pytest.raises(ModelError, match=r"angle notation: .* bracket notation: .*#### 5.75' came back as"):
        choose_notation(wordpiece_tokenizer())
    with pytest.raises(ModelError, match="cannot spell the angle notation"):
        check_notation(sentencepiece_tokenizer(), ANGLE)


def test_a_decoder_that_looks_at_neighbours_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"0": 0, "b": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("0b", "x")])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    with pytest.raises(ModelError, match=r"token 'b' \(id 1\) changes the text before it"):
        token_texts(wrapped)
