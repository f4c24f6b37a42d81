"""Log-probabilities of completions: the one function that turns logits into them, for both model families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from selfstudy.errors import ModelError
from selfstudy.learning.groups import Batch, collate
from selfstudy.models.compute import Compute
from selfstudy.models.load import family
from selfstudy.types import Group


@dataclass(frozen=True, slots=True)
class CompletionLogps:
    """Token log-probabilities (nats) of C completions with N tokens in all.

    Attributes:
        logps: (N,) float32, group by group, completion by completion, token by token.
        lengths: (C,) Tokens of each completion.
        owner: (N,) The completion that each token belongs to.
        positions: How many positions the model computed for them, prompts and padding included.
    """

    logps: Tensor
    lengths: Tensor
    owner: Tensor
    positions: int

    def sums(self) -> Tensor:
        """Return (C,) the log-probability of each completion."""
        return self.logps.new_zeros(len(self.lengths)).index_add(0, self.owner, self.logps)


def logprobs(model: PreTrainedModel, groups: Sequence[Group]) -> CompletionLogps:
    """Compute the log-probability of every completion token, differentiable, without padding in the result.

    Causal models get one row for each completion, prompt included: with padding on the right, plain causal attention
    needs no mask. Encoder–decoder models encode each prompt once. Only the positions that predict a completion token
    reach the output layer, and the softmax is in float32 also under autocast.

    Args:
        model: Its training mode decides about dropout.
        groups: Whose completions.

    Raises:
        TrainingError: A prompt or completion has no tokens.
        ModelError: The architecture has no usable output layer.
    """
    batch = collate(groups, decoder_start(model)).to(model.device)
    with _only_at(model, batch.positions):
        logits = _logits(model, batch)
    if logits.shape[:2] != (1, len(batch.labels)):
        raise ModelError(f"{_name(model)}: logits are not those of its output layer (shape {tuple(logits.shape)})")
    logps = -F.cross_entropy(logits[0].float(), batch.labels, reduction="none")  # log softmax at the labels
    positions = batch.input_ids.numel() + (0 if batch.prompt_ids is None else batch.prompt_ids.numel())
    return CompletionLogps(logps, batch.lengths, batch.owner, positions)


def _logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    if batch.prompt_of is None:
        logits: Tensor = model(input_ids=batch.input_ids, use_cache=False).logits
        return logits
    encoded = model.get_encoder()(input_ids=batch.prompt_ids, attention_mask=batch.prompt_mask).last_hidden_state
    logits = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded[batch.prompt_of]),  # (C, P, H)
        attention_mask=batch.prompt_mask[batch.prompt_of] if batch.prompt_mask is not None else None,
        decoder_input_ids=batch.input_ids,
        use_cache=False,
    ).logits
    return logits


@contextmanager
def _only_at(model: PreTrainedModel, positions: Tensor) -> Iterator[None]:
    """Let the output layer see only ``positions``: (C, L, H) becomes (1, N, H).

    Hidden states are narrowed on their way into the layer, so whatever the architecture does before (T5's scale) and
    after it (a bias, a soft cap) stays its own, and one way serves both families.
    """
    layer = model.get_output_embeddings()
    if layer is None:
        raise ModelError(
            f"{_name(model)} has no output layer; a causal or sequence-to-sequence language model is needed"
        )

    def narrow(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = inputs
        return (hidden.flatten(0, 1)[positions][None], *others)

    handle = layer.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        handle.remove()


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
    raise ModelError(f"{_name(model)}: decoder_start_token_id is missing in config.json and generation_config.json")


def autocast(compute: Compute) -> torch.autocast:
    """Return the context for forward passes: matrix products in ``compute.dtype``, weights stay as they are."""
    return torch.autocast(compute.device, dtype=compute.torch_dtype, enabled=compute.dtype != "float32")


@torch.no_grad()
def check_logprobs(model: PreTrainedModel, tolerance: float = 2e-3) -> None:
    """Compare ragged groups with plain one-row forward passes on a few random tokens.

    An architecture whose mask, positions or output layer do not work as :func:`logprobs` assumes is found here, when it
    is loaded, and not in the results.

    Args:
        model: With float32 weights; raise ``tolerance`` for others.
        tolerance: Largest difference of a token's log-probability, nats.

    Raises:
        ModelError: They differ; names the architecture.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(model.config.get_text_config().vocab_size, (length,), generator=generator).tolist())

    groups = [Group("probe-1", draw(7), (draw(5), draw(1), draw(9))), Group("probe-2", draw(3), (draw(4),))]
    was_training = model.training
    model.eval()
    try:
        together = logprobs(model, groups).logps
        alone = torch.cat([plain_logprobs(model, group.prompt_ids, c) for group in groups for c in group.completions])
    finally:
        model.train(was_training)
    difference = (together - alone).abs().max().item()
    if not difference <= tolerance:
        raise ModelError(
            f"{_name(model)}: log-probabilities of completions in one batch differ from those computed alone by up to "
            f"{difference:.2g} nats (at most {tolerance:g} is rounding); this architecture cannot be trained here"
        )


def plain_logprobs(model: PreTrainedModel, prompt_ids: Sequence[int], completion: Sequence[int]) -> Tensor:
    """Compute one completion's token log-probabilities (tokens,) the plain way: one row, all logits, log softmax."""
    start = decoder_start(model)
    prompt = torch.tensor([prompt_ids], device=model.device)
    labels = torch.tensor(completion, device=model.device)
    if start is None:
        row = torch.cat([prompt, labels[None]], dim=1)
        logits = model(input_ids=row, use_cache=False).logits[0, len(prompt_ids) - 1 : -1]
    else:
        inputs = torch.tensor([[start, *completion[:-1]]], device=model.device)
        logits = model(input_ids=prompt, decoder_input_ids=inputs, use_cache=False).logits[0]
    logps: Tensor = logits.float().log_softmax(-1).gather(1, labels[:, None])[:, 0]
    return logps


def _name(model: PreTrainedModel) -> str:
    return type(model).__name__
