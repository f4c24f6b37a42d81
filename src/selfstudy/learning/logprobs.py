"""Log-probabilities of completions: the one function that turns logits into them, for both model families."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from selfstudy.errors import ModelError, listed
from selfstudy.learning.attention import Causal, Cross, Full, Rows, ends
from selfstudy.learning.groups import Batch, collate
from selfstudy.models.attention import (
    HIDDEN,
    OTHERS,
    Step,
    attending_flat,
    check_window,
    naming_failures,
    noting_windows,
    parts_of,
    placed,
    position_bias,
)
from selfstudy.models.compute import Compute
from selfstudy.models.load import family, position_limit
from selfstudy.models.plain import decoder_start, evaluating, plain_logprobs
from selfstudy.types import Group

# The method of a sharded model that stands in for label_logps.
ENTRY = "selfstudy_label_logps"
_SHORTER = "lower max_prompt_tokens or max_completion_tokens, which leave out what is longer"
_LOGITS = 2**25  # in memory at a time (float32: 128 MiB)


@dataclass(frozen=True, slots=True)
class CompletionLogps:
    """Token log-probabilities (nats) of C completions with N tokens in all.

    Attributes:
        logps: (N,) float32, group by group, completion by completion, token by token; 0 for those not counted.
        lengths: (C,) Tokens of each completion that count, at least 1.
        owner: (N,) The completion that each token belongs to.
        positions: How many tokens the model computed for them, prompts included.
    """

    logps: Tensor
    lengths: Tensor
    owner: Tensor
    positions: int

    def sums(self) -> Tensor:
        """Return (C,) the log-probability of each completion."""
        return self.logps.new_zeros(len(self.lengths)).index_add(0, self.owner, self.logps)


def logprobs(model: PreTrainedModel, groups: Sequence[Group], *, chunk: int | None = None) -> CompletionLogps:
    """Compute the log-probability of every completion token, differentiable, without padding in the result.

    A prompt is computed once for all completions of its group, and no padding is computed but where rows attend
    (:mod:`~selfstudy.learning.attention`). Only the positions that predict a completion token reach the output layer,
    in chunks where the vocabulary is large; the softmax is in float32 also under autocast.

    Args:
        model: Its training mode decides about dropout. With gradient checkpointing the backward pass runs the model
            again, so that both passes must be within one :func:`~selfstudy.models.attention.attending_flat`.
        groups: Whose completions.
        chunk: Labels whose logits are in memory at a time; None: as many as take 128 MiB.

    Raises:
        TrainingError: A prompt or completion has no tokens.
        ModelError: The architecture has no usable output layer, or attention that no other can stand in for.
    """
    batch = collate(groups, decoder_start(model)).to(model.device)
    entry = getattr(model, ENTRY, None) or partial(label_logps, model)
    with attending_flat(model, encoder=True):
        logps = entry(batch, chunk)
    return CompletionLogps(logps * batch.counted, batch.lengths, batch.owner, batch.positions)


def label_logps(model: PreTrainedModel, batch: Batch, chunk: int | None) -> Tensor:
    """Run a model within :func:`~selfstudy.models.attention.attending_flat`; return (N,) its labels' log-probabilities.

    A model that is sharded over processes is whole only within this function.
    """
    with _Output(model, batch, chunk) as output:
        return output.take(_flat_logits(model, batch))


def _flat_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return logits (1, ·, V) of what a hook on the output layer lets through."""
    prompts = batch.prompts
    if prompts is None:
        step: Step = Causal(batch.rows)
        ids, places = batch.input_ids[None], batch.position_ids[None]
        logits: Tensor = model(input_ids=ids, position_ids=places, use_cache=False, step=step).logits
        return logits
    parts = parts_of(model)
    encoder, decoder = model.get_encoder(), model.get_decoder()
    with ExitStack() as stack:
        for stage, where in ((encoder, prompts.position_ids), (decoder, batch.position_ids)):
            if hasattr(stage, "embed_positions"):
                stack.enter_context(placed(stage.embed_positions, where))
        seen = None if parts.encoder_bias is None else _bias(parts.encoder_bias, prompts.rows)
        encoded = encoder(input_ids=prompts.input_ids[None], step=Full(prompts.rows, seen)).last_hidden_state
        behind = tuple(map(ends, prompts.read.places, prompts.read.lengths))
        bias = None
        if parts.decoder_bias is not None:
            bias = _bias(parts.decoder_bias, batch.rows)
            bias = bias.masked_fill(torch.ones_like(bias, dtype=torch.bool).triu(1), HIDDEN)
        step = Causal(batch.rows, bias, dict.fromkeys(parts.cross, Cross(prompts.readers, prompts.read, behind)))
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            decoder_input_ids=batch.input_ids[None],
            use_cache=False,
            step=step,
        ).logits
    return logits


def _bias(holder: nn.Module, rows: Rows) -> Tensor:
    """Return T5's position bias (1, H, L, L) within rows."""
    at = torch.arange(rows.places[0].shape[1], device=rows.home.device)
    return position_bias(holder, at - at[:, None])[None]


class _Output:
    """Narrows what the output layer sees to the positions that predict a label.

    Hidden states are narrowed on their way into the layer, so whatever the architecture does before it (T5's scale)
    stays its own, and one way serves both families. Few logits are computed by the model itself, with whatever it does
    to them. Where they would take much memory, the model computes a single one and the layer runs here, chunk by chunk,
    and again in the backward pass.
    """

    def __init__(self, model: PreTrainedModel, batch: Batch, chunk: int | None):
        layer = model.get_output_embeddings()
        if layer is None:
            raise ModelError(
                f"{_name(model)} has no output layer; take a causal or a sequence-to-sequence language model"
            )
        self._model, self._layer, self._batch = model, layer, batch
        self._rows = chunk or max(1, _LOGITS // layer.weight.shape[0])
        self._hidden: Tensor | None = None

    def __enter__(self) -> Self:
        self._handle = self._layer.register_forward_pre_hook(self._narrow)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _narrow(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = inputs
        wanted = hidden.flatten(0, 1).index_select(0, self._batch.predicts)
        if len(wanted) > self._rows:
            self._hidden, wanted = wanted, wanted[:1]
        return (wanted[None], *others)

    def take(self, logits: Tensor) -> Tensor:
        """Return log-probabilities of the labels (N,) for the model's logits.

        Raises:
            ModelError: They are not those of the output layer.
        """
        labels = self._batch.labels
        if logits.shape[:2] != (1, len(labels) if self._hidden is None else 1):
            shape = tuple(logits.shape)
            raise ModelError(
                f"{_name(self._model)}: logits are not those of its output layer (shape {shape}); {OTHERS}"
            )
        if self._hidden is None:
            return _of_labels(logits[0], labels)
        self._handle.remove()
        parts = zip(torch.split(self._hidden, self._rows), torch.split(labels, self._rows), strict=True)
        return torch.cat([checkpoint(self._chunk, *part, use_reentrant=False) for part in parts])

    def _chunk(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Do what architectures do behind the layer; :func:`check_logprobs` refuses one that does anything else."""
        logits = self._layer(hidden)
        config = self._model.config.get_text_config()
        if hasattr(self._model, "final_logits_bias"):  # BART
            logits = logits + self._model.final_logits_bias
        if (factor := getattr(config, "logit_scale", None)) is not None:  # Cohere
            logits = logits * factor
        if (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:  # Gemma 2 and later
            logits = torch.tanh(logits / cap) * cap
        return _of_labels(logits, labels)


def _of_labels(logits: Tensor, labels: Tensor) -> Tensor:
    return -F.cross_entropy(logits.float(), labels, reduction="none")  # log softmax at the labels


def autocast(compute: Compute) -> torch.autocast:
    """Return the context for forward passes: matrix products in ``compute.dtype``, weights stay as they are."""
    return torch.autocast(compute.device, dtype=compute.torch_dtype, enabled=compute.dtype != "float32")


def check_logprobs(model: PreTrainedModel, tolerance: float = 2e-3) -> bool:
    """Compare ragged groups with plain one-row forward passes on a few random tokens.

    An architecture whose mask, positions or output layer do not work as :func:`logprobs` assumes is found here, when it
    is loaded, and not in the results.

    Args:
        model: With float32 weights; raise ``tolerance`` for others.
        tolerance: Largest difference of a token's log-probability, nats.

    Returns:
        Whether any layer said that it looks back a limited way only: :func:`check_rows` wants to know.

    Raises:
        ModelError: They differ; names the architecture.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(model.config.get_text_config().vocab_size, (length,), generator=generator).tolist())

    groups = [Group("probe-1", draw(7), (draw(5), draw(1), draw(9))), Group("probe-2", draw(3), (draw(4),))]
    with evaluating(model):
        alone = torch.cat([plain_logprobs(model, group.prompt_ids, c) for group in groups for c in group.completions])
        with naming_failures(model):
            with noting_windows() as windows:
                together = logprobs(model, groups).logps
            chunked = logprobs(model, groups, chunk=4).logps
    difference = max((together - alone).abs().max().item(), (chunked - alone).abs().max().item())
    if not difference <= tolerance:
        raise ModelError(
            f"{_name(model)}: log-probabilities of completions in one batch differ from those computed alone by up to "
            f"{difference:.2g} nats (at most {tolerance:g} is rounding); {OTHERS}"
        )
    return bool(windows)


def check_rows(model: PreTrainedModel, groups: Sequence[Group], windowed: bool) -> None:
    """Refuse rows that are longer than a model's positions, or so long that its attention changes unseen.

    Args:
        model: To be trained.
        groups: What it learns from.
        windowed: As :func:`check_logprobs` found.

    Raises:
        ModelError: Names the problems, or the architecture.
    """
    causal = family(model) == "causal"
    lengths = {}
    for group in groups:
        completion = max(map(len, group.completions), default=0)
        prompt = len(group.prompt_ids)
        lengths[group.problem_id] = prompt + completion if causal else max(prompt, completion)
    limit = position_limit(model)
    over = [f"{name} ({length})" for name, length in lengths.items() if limit is not None and length > limit]
    if over:
        raise ModelError(
            f"{listed(over)}: rows of that many tokens exceed the {limit} positions of {_name(model)}; {_SHORTER}"
        )
    check_window(model, windowed, max(lengths.values(), default=0), _SHORTER)


def _name(model: PreTrainedModel) -> str:
    return type(model).__name__
