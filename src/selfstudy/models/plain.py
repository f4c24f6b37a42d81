"""A model as its library runs it, one row at a time: what batches and flat lists of tokens are held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfstudy.errors import ModelError
from selfstudy.models.load import family


def decoder_start(model: PreTrainedModel) -> int | None:
    """Return the decoder's first input token; None for causal models.

    Raises:
        ModelError: An encoder–decoder model does not say which it is.
    """
    if family(model) == "causal":
        return None
    for config in (model.generation_config, model.config):
        token = getattr(config, "decoder_start_token_id", None)
        if token is not None:
            return int(token)
    raise ModelError(
        f"{type(model).__name__}: decoder_start_token_id is missing in config.json and generation_config.json; add it "
        "(T5: 0)"
    )


def plain_logits(model: PreTrainedModel, prompt_ids: Sequence[int], completion: Sequence[int]) -> Tensor:
    """Return (N + 1, V) logits behind the prompt and behind each of a completion's N tokens."""
    start = decoder_start(model)
    if start is None:
        row = torch.tensor([[*prompt_ids, *completion]], device=model.device)
        logits: Tensor = model(input_ids=row, use_cache=False).logits[0, len(prompt_ids) - 1 :]
    else:
        prompt = torch.tensor([[*prompt_ids]], device=model.device)
        inputs = torch.tensor([[start, *completion]], device=model.device)
        logits = model(input_ids=prompt, decoder_input_ids=inputs, use_cache=False).logits[0]
    return logits


def plain_logprobs(model: PreTrainedModel, prompt_ids: Sequence[int], completion: Sequence[int]) -> Tensor:
    """Return (N,) float32 log-probabilities of a completion's N tokens: all logits, log softmax."""
    labels = torch.tensor(completion, device=model.device)
    logits = plain_logits(model, prompt_ids, completion[:-1])
    return logits.float().log_softmax(-1).gather(1, labels[:, None])[:, 0]


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put a model in evaluation mode, without gradients; restore each module's mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
