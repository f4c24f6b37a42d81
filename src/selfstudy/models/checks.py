"""What a model and its tokenizer must be able to do, checked before any compute."""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from selfstudy.errors import ModelError
from selfstudy.models.load import family, position_limit


def check(
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    chat: bool = False,
    max_new_tokens: int = 0,
) -> None:
    """Check that a model can be trained and sampled with a tokenizer.

    Args:
        config: The model's.
        tokenizer: The tokenizer that lies with it.
        chat: Whether prompts go through the chat template.
        max_new_tokens: Length of the longest completion.

    Raises:
        ModelError: What is wrong, and what to do.
    """
    _check_rows(config, tokenizer)
    _check_eos(tokenizer)
    if family(config) == "seq2seq" and getattr(config, "decoder_start_token_id", None) is None:
        raise ModelError(
            f"the {config.model_type} config has no decoder_start_token_id, so the decoder has no first input; "
            "add it to config.json (T5: the pad token, 0)"
        )
    _check_positions(config, max_new_tokens)
    if chat and not tokenizer.chat_template:
        raise ModelError("prompt.chat is on, but the model has no chat template; set prompt.chat: false")


def _check_rows(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0]))
    rows = config.get_text_config().vocab_size
    if highest >= rows:
        raise ModelError(
            f"the tokenizer has token {token!r} with id {highest}, but the model has {rows} embedding "
            f"rows (ids 0 to {rows - 1}); they do not belong together, or tokens were added without "
            "training rows for them. Embeddings are never resized here: use the tokenizer that came with the model"
        )


def _check_eos(tokenizer: PreTrainedTokenizerBase) -> None:
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
            f"EOS {tokenizer.eos_token!r} is an ordinary token, so that text may hold it; make it a special token "
            "in tokenizer.json"
        )


def _check_positions(config: PreTrainedConfig, new: int) -> None:
    limit = position_limit(config)
    if limit is not None and new > limit:
        raise ModelError(
            f"sampling.max_new_tokens={new} is more than the {limit} positions of the {config.model_type} model, which "
            "prompts need too; lower it"
        )
