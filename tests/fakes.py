"""Stand-ins that need no download: tokenizers and 2-layer models made on the spot."""

from __future__ import annotations

import json
import math
from collections import Counter

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

# Enough text for a tokenizer to learn merges such as ">>" or "=8" where its pre-tokenizer lets it.
CORPUS = [
    f"Tom has {a} apples and buys {b} more. He has {a} + {b} = <<{a}+{b}={a + b}>>{a + b} apples.\n#### {a + b}"
    for a in range(1, 40, 3)
    for b in range(1, 40, 4)
]
BRACKET_CORPUS = [
    f"Tom has {a} apples and buys {b} more. He has {a} + {b} = [ {a}+{b} = {a + b} ] {a + b} apples. #### {a + b}"
    for a in range(1, 40, 3)
    for b in range(1, 40, 4)
]


def byte_tokenizer(vocab_size: int = 400, *, split_digits: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE: can spell anything."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split_digits)
    parts = [pre_tokenizers.Digits(individual_digits=True), byte_level] if split_digits else [byte_level]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def sentencepiece_tokenizer(vocab_size: int = 300, *, alphabet: str = "") -> PreTrainedTokenizerFast:
    """Unigram with a metaspace, as T5's: no newline, no ``<``; the characters of ``alphabet`` are spelled as well.

    Its pieces are the commonest parts of words, counted here: the library's Unigram trainer gives pieces other ids each
    time, and a model taught with them other answers.
    """
    counts = Counter(dict.fromkeys(alphabet, 1))
    for text in BRACKET_CORPUS:
        for word in text.split():
            piece = f"▁{word}"
            counts.update(piece[a:b] for a in range(len(piece)) for b in range(a + 1, len(piece) + 1))
    letters = [piece for piece in counts if len(piece) == 1]
    longer = sorted((piece for piece in counts if len(piece) > 1), key=lambda piece: (-counts[piece], piece))
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [*letters, *longer][: vocab_size - len(special)]
    scores = [(piece, math.log(counts[piece] / counts.total())) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram([*((piece, 0.0) for piece in special), *scores], special.index("<unk>")))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def llama_tokenizer(vocab_size: int = 600, *, legacy: bool = True) -> PreTrainedTokenizerFast:
    """SentencePiece BPE as Llama's: bytes for what is not in the vocabulary, a space in front of every text, BOS.

    ``legacy`` puts that space before the text even where it begins with one, as Llama-2's and TinyLlama's files do.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "removed"),
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    special = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - 259, special_tokens=["<unk>"], show_progress=False)
    trained.train_from_iterator(CORPUS, trainer)
    state = json.loads(trained.to_str())["model"]
    learnt = [token for token in sorted(state["vocab"], key=state["vocab"].get) if token != "<unk>"]
    vocab = {token: index for index, token in enumerate([*special, *byte_tokens, *learnt])}
    merges = [tuple(merge) for merge in state["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def tiny_llama(vocab_size: int, *, seed: int = 0, **changes: object) -> LlamaForCausalLM:
    """2 layers, grouped-query attention, large random weights so that outputs vary."""
    torch.manual_seed(seed)
    settings: dict[str, object] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        "initializer_range": 0.3,
    }
    return _ready(LlamaForCausalLM(LlamaConfig(**(settings | changes))))


def tiny_t5(vocab_size: int, *, seed: int = 0, **changes: object) -> T5ForConditionalGeneration:
    """2 + 2 layers; the initial scale is raised so that outputs vary."""
    torch.manual_seed(seed)
    settings: dict[str, object] = {
        "vocab_size": vocab_size,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "initializer_factor": 3.0,
    }
    return _ready(T5ForConditionalGeneration(T5Config(**(settings | changes))))


def _ready(model):
    return model.eval().requires_grad_(True)
