"""Train a tokenizer on the run's own text, for models that start from scratch.

Digits are one token each, so that a number has one spelling and arithmetic can be learnt column by column. Training is
deterministic: byte pair encoding counts words and breaks ties by token id, on any number of threads. (The Unigram
trainer of ``tokenizers`` gives the pieces of one text another order each time, on one thread too: it is not used.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from selfstudy.errors import ConfigError

Family = Literal["causal", "seq2seq"]

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
# Printable ASCII but for the angle brackets, which T5's vocabulary lacks as well: questions may hold any of it.
_SEQ2SEQ_ALPHABET = ["▁", *(chr(code) for code in range(33, 127) if chr(code) not in "<>")]

# Words and signs take the space before them; digits stand alone, so that a number is spelt the same everywhere.
_SEQ2SEQ_WORDS = Regex(r"▁?\p{L}+|\p{N}|▁?[^▁\p{L}\p{N}]+|▁")


def train_tokenizer(texts: Iterable[str], family: Family, vocab_size: int) -> PreTrainedTokenizerFast:
    r"""Train a tokenizer on ``texts``; the same texts in the same order give the same tokenizer.

    ``causal`` is byte-level BPE: it can spell anything, ``decode(encode(text)) == text``, and it adds nothing at
    either end. ``seq2seq`` is BPE with a metaspace as T5's: white space, ``\n`` too, becomes one space, the encoder's
    input ends in ``</s>``, other characters than ASCII's and those in ``texts`` become ``<unk>``. Its texts have to be
    in the bracket notation.

    Args:
        texts: Questions and solutions.
        family: Which of the two.
        vocab_size: Upper bound, special tokens included; a short text yields fewer tokens.

    Raises:
        ConfigError: ``vocab_size`` is smaller than the alphabet.
    """
    tokenizer, special, alphabet = _byte_level() if family == "causal" else _metaspace()
    least = len(special) + len(alphabet)
    if vocab_size < least:
        raise ConfigError(
            f"vocab_size is {vocab_size}; a {family} tokenizer needs at least {least} for its alphabet; raise it"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=alphabet,
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if family == "seq2seq":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, special.index(EOS))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN if UNKNOWN in special else None,
        clean_up_tokenization_spaces=False,
    )


def _byte_level() -> tuple[Tokenizer, list[str], list[str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, [PAD, EOS], sorted(pre_tokenizers.ByteLevel.alphabet())


def _metaspace() -> tuple[Tokenizer, list[str], list[str]]:
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split(_SEQ2SEQ_WORDS, "isolated")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer, [PAD, EOS, UNKNOWN], _SEQ2SEQ_ALPHABET
