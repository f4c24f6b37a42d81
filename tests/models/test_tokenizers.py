"""Trained tokenizers: round trips, digits one by one, the same bytes in any process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfstudy.errors import ConfigError
from selfstudy.judging.notation import BRACKET
from selfstudy.models.load import load_tokenizer, save_tokenizer
from selfstudy.models.tokenizers import train_tokenizer
from tests.fakes import BRACKET_CORPUS, CORPUS

CAUSAL = train_tokenizer(CORPUS, "causal", 400)
SEQ2SEQ = train_tokenizer(BRACKET_CORPUS, "seq2seq", 300)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def spell(tokenizer, text):
    return tokenizer.decode(ids(tokenizer, text), skip_special_tokens=True)


@given(st.text())
def test_byte_level_spells_any_text(text):
    text = text.encode("utf-8", "replace").decode()
    assert spell(CAUSAL, text) == text


@pytest.mark.parametrize("text", ["</s>", "<pad> ", "a </s>b", " x", "x ", "\n\n", "  two", "#### 5", "½ €"])
def test_byte_level_spells_awkward_text(text):
    assert spell(CAUSAL, text) == text


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_digits_stand_alone(a, b):
    for tokenizer in (CAUSAL, SEQ2SEQ):
        tokens = tokenizer.convert_ids_to_tokens(ids(tokenizer, f"He has {a} + {b} = {a},{b}."))
        assert [t for t in tokens if any(c.isdigit() for c in t)] == list(f"{a}{b}{a}{b}")


@given(st.sampled_from(BRACKET_CORPUS))
def test_seq2seq_spells_the_bracket_notation(text):
    assert spell(SEQ2SEQ, text) == text


@given(st.text(alphabet="0123456789+-*/().,$%x ", min_size=1).filter(lambda s: s.split()), st.integers(0, 999))
def test_seq2seq_spells_any_annotation(expression, result):
    text = f"He has {BRACKET.annotate(' '.join(expression.split()), str(result))} more"
    assert spell(SEQ2SEQ, text) == text


def test_seq2seq_is_like_t5():
    assert spell(SEQ2SEQ, " one \n two\t\n") == "one two"
    assert SEQ2SEQ("apples")["input_ids"][-1] == SEQ2SEQ.eos_token_id
    assert SEQ2SEQ.unk_token_id in ids(SEQ2SEQ, "<<")
    assert not {"<", ">"} & set("".join(SEQ2SEQ.get_vocab())) - set("<pad></s><unk>")


def test_special_tokens():
    for tokenizer in (CAUSAL, SEQ2SEQ):
        assert tokenizer.pad_token_id == 0
        assert tokenizer.eos_token_id == 1
        assert tokenizer.bos_token is None
        assert max(tokenizer.get_vocab().values()) == len(tokenizer) - 1
        assert not tokenizer.clean_up_tokenization_spaces
    assert CAUSAL("apples")["input_ids"] == ids(CAUSAL, "apples")


@pytest.mark.parametrize("tokenizer", [CAUSAL, SEQ2SEQ])
def test_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert (loaded.pad_token, loaded.eos_token, loaded.unk_token) == (
        tokenizer.pad_token,
        tokenizer.eos_token,
        tokenizer.unk_token,
    )


def test_same_in_every_process_and_on_any_number_of_threads():
    code = (
        "import hashlib\n"
        "from selfstudy.models.tokenizers import train_tokenizer\n"
        "from tests.fakes import BRACKET_CORPUS, CORPUS\n"
        "for texts, family, size in ((CORPUS, 'causal', 400), (BRACKET_CORPUS, 'seq2seq', 300)):\n"
        "    text = train_tokenizer(texts, family, size).backend_tokenizer.to_str()\n"
        "    print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    environment = os.environ | {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = [hashlib.sha256(t.backend_tokenizer.to_str().encode()).hexdigest() for t in (CAUSAL, SEQ2SEQ)]
    assert printed.stdout.split() == here


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ConfigError, match=r"vocab_size is 100; a causal tokenizer needs at least 258"):
        train_tokenizer(CORPUS, "causal", 100)
