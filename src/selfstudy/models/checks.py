"""What a model and its tokenizer must be able to do, checked before any compute."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from selfstudy.errors import ModelError
from selfstudy.judging.notation import Notation
from selfstudy.models.load import family, fill_id
from selfstudy.models.tokenizers import Family
from selfstudy.models.vocabulary import choose_notation


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the checks found, for whoever builds batches.

    Attributes:
        family: ``causal`` or ``seq2seq``.
        eos_id: Ends a completion; a label.
        fill_id: Fills rows; masked by length, so any token will do.
        decoder_start_id: First decoder input of encoder–decoder models.
        notation: How this tokenizer can write annotations.
    """

    family: Family
    eos_id: int
    fill_id: int
    decoder_start_id: int | None
    notation: Notation


def check(
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    chat: bool = False,
    max_prompt_tokens: int = 0,
    max_new_tokens: int = 0,
) -> Abilities:
    """Check that a model can be trained and sampled with a tokenizer.

    Args:
        config: The model's.
        tokenizer: The tokenizer that lies with it.
        chat: Whether prompts go through the chat template.
        max_prompt_tokens: Length of the longest prompt.
        max_new_tokens: Length of the longest completion.

    Raises:
        ModelError: What is wrong, and what to do.
    """
    kind = family(config)
    _check_rows(config, tokenizer)
    eos = _check_eos(tokenizer)
    start = getattr(config, "decoder_start_token_id", None)
    if kind == "seq2seq" and start is None:
        raise ModelError(
            f"the {config.model_type} config has no decoder_start_token_id, so the decoder has no first input; "
            "add it to config.json (T5: the pad token, 0)"
        )
    _check_positions(config, kind, max_prompt_tokens, max_new_tokens)
    if chat and not tokenizer.chat_template:
        raise ModelError("prompt.chat is on, but the model has no chat template; set prompt.chat: false")
    return Abilities(kind, eos, fill_id(tokenizer), start if kind == "seq2seq" else None, choose_notation(tokenizer))


def _check_rows(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0]))
    if highest >= config.vocab_size:
        raise ModelError(
            f"the tokenizer has token {token!r} with id {highest}, but the model has {config.vocab_size} embedding "
            f"rows (ids 0 to {config.vocab_size - 1}); they do not belong together, or tokens were added without "
            "training rows for them. Embeddings are never resized here: use the tokenizer that came with the model"
        )


def _check_eos(tokenizer: PreTrainedTokenizerBase) -> int:
    eos = tokenizer.eos_token_id
    if tokenizer.eos_token is None:
        raise ModelError(
            "the tokenizer has no EOS token, so a model could never learn to stop; set eos_token in "
            "tokenizer_config.json"
        )
    if eos is None or eos == tokenizer.unk_token_id:
        raise ModelError(
            f"EOS is {tokenizer.eos_token!r}, which is not in the vocabulary or stands for unknown tokens; set "
            "eos_token in tokenizer_config.json to a token of its own"
        )
    if tokenizer.decode([eos], skip_special_tokens=True):
        raise ModelError(
            f"EOS {tokenizer.eos_token!r} is an ordinary token, so that text may hold it; make it a special token"
        )
    return int(eos)


def _check_positions(config: PreTrainedConfig, kind: Family, prompt: int, new: int) -> None:
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:  # T5 counts relative distances
        return
    # Encoder and decoder each have the whole range; a causal model shares one.
    needed = max(prompt, new) if kind == "seq2seq" else prompt + new
    if needed > limit:
        raise ModelError(
            f"prompts of {prompt} and completions of {new} tokens need {needed} positions; the {config.model_type} "
            f"model has {limit}. Lower max_new_tokens or max_prompt_tokens"
        )
