"""Optimiser, schedule and what a user may set of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, FieldSerializationInfo, field_serializer, model_validator
from torch import nn
from transformers import PreTrainedModel

from selfstudy.config import Settings
from selfstudy.errors import TrainingError
from selfstudy.models.lora import LoraSettings


class OptimSettings(Settings):
    """How a model is trained; device and precision stand in :class:`~selfstudy.models.compute.Compute`.

    Attributes:
        learning_rate: At its peak; ``auto`` divides a constant by the model's width.
        warmup_ratio: Share of the steps in which the rate rises linearly.
        min_lr_ratio: The cosine ends at this share of the peak; 1 keeps the rate constant after warm-up.
        weight_decay: Of matrices and embeddings; norms and biases (tensors with fewer than two dimensions) have none.
        max_grad_norm: Gradients are clipped to this norm.
        betas: AdamW's.
        eps: AdamW's.
        batch_size: Examples or pairs in a step.
        epochs: Passes over the data; the last step is filled up from the next pass. Either this or ``max_steps``.
        max_steps: Optimizer steps.
        tokens_per_batch: Tokens, prompts included, in one forward pass, and 4 times as many places in the rows in
            which attention is computed. It only splits a step: the loss is normalised over the whole step (dropout
            draws other noise).
        order: ``shuffled`` puts examples or pairs in random order; ``grouped`` puts problems in random order, all that
            is learnt of a problem behind each other, so that its prompt is computed once for them; ``given`` leaves
            them as they come.
        mask_forced: Leave the tokens that the calculator wrote out of the loss.
        devices: Processes that share each step, on a GPU each or on the CPU together, ``compute.threads``
            each; their number changes the order of sums.
        sharding: ``fsdp`` spreads weights, gradients and optimizer state over ``devices``, for models that do not fit
            on one; it needs ``guard: off``. No GPU has run it yet.
        dropout: ``model`` uses what the model's config says, ``off`` none.
        gradient_checkpointing: Compute activations twice instead of keeping them.
        lora: Train small matrices instead of the weights, and merge them in at the end; ``null`` trains the weights.
            ``learning_rate: auto`` is made for weights: state one here.
    """

    # The peak rate times the model's width, where the rate is auto: Adam's best rate for matrices falls with 1/width
    # (Yang et al. 2022, arXiv 2203.03466).
    rate_times_width: ClassVar[float] = 0.25
    # Where the settings name neither ``epochs`` nor ``max_steps``.
    usual_length: ClassVar[Mapping[str, float]] = {}

    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    batch_size: Annotated[int, Field(ge=1)]
    epochs: Annotated[float, Field(gt=0)] | None = None
    max_steps: Annotated[int, Field(ge=1)] | None = None
    tokens_per_batch: Annotated[int, Field(ge=1)] = 8192
    order: Literal["shuffled", "grouped", "given"] = "shuffled"
    mask_forced: bool = False
    devices: Annotated[int, Field(ge=1, le=512)] = 1
    sharding: Literal["none", "fsdp"] = "none"
    dropout: Literal["model", "off"] = "model"
    gradient_checkpointing: bool = False
    lora: LoraSettings | None = None

    @field_serializer("learning_rate")
    def _rate_and_its_constant(self, value: float | str, info: FieldSerializationInfo) -> float | str:
        """A fingerprint says what ``auto`` means."""
        identity = value == "auto" and info.context and info.context.get("identity")
        return f"{self.rate_times_width} / width" if identity else value

    @model_validator(mode="before")
    @classmethod
    def _usual_length(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and not {"epochs", "max_steps"} & given.keys():
            return {**cls.usual_length, **given}
        return given

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("set either epochs or max_steps, and the other one to null")
        return self

    @model_validator(mode="after")
    def _sharding_fits(self) -> Self:
        if self.sharding == "fsdp" and (self.devices == 1 or self.lora is not None):
            raise ValueError("sharding: fsdp needs devices: 2 or more, and no lora")
        return self

    @model_validator(mode="after")
    def _lora_drops(self) -> Self:
        if self.lora is not None and self.lora.dropout and self.dropout == "off":
            raise ValueError("lora.dropout does nothing where dropout is off; set dropout: model, or lora.dropout: 0")
        return self

    def of(self, model: PreTrainedModel) -> Self:
        """Return the settings with the learning rate that they mean for a model.

        Raises:
            TrainingError: Its config does not say how wide it is.
        """
        if self.learning_rate != "auto":
            return self
        width = getattr(model.config.get_text_config(), "hidden_size", None)
        if width is None:
            raise TrainingError(f"{type(model).__name__} does not say how wide it is; set learning_rate to a number")
        return self.model_copy(update={"learning_rate": self.rate_times_width / width})

    def total_steps(self, n: int) -> int:
        """Return the optimizer steps of a training on ``n`` items."""
        if self.max_steps is not None:
            return self.max_steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * n / self.batch_size - 1e-9))  # 0.1 × 30 / 3 is 1 step, not 2

    def rate(self, step: int, total_steps: int) -> float:
        """Return the learning rate of ``step`` (from 1 to ``total_steps``); settings of a model only.

        Warm-up rises linearly and is at the peak in its last step, so no step is lost at rate 0; the cosine reaches the
        floor in the very last step.
        """
        assert self.learning_rate != "auto"
        warmup = math.ceil(self.warmup_ratio * total_steps - 1e-9)  # 0.07 × 100 is 7
        if step <= warmup:
            return self.learning_rate * step / warmup
        progress = (step - warmup) / (total_steps - warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.min_lr_ratio + (1 - self.min_lr_ratio) * cosine)


def make_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.AdamW:
    """Make AdamW over the trainable parameters, weight decay on those with two dimensions or more.

    Raises:
        TrainingError: There are none, or they are not float32: small steps vanish in narrower weights.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise TrainingError("no parameter requires a gradient, so there is nothing to train")
    narrow = [name for name, parameter in trainable.items() if parameter.dtype != torch.float32]
    if narrow:
        raise TrainingError(
            f"{narrow[0]} is {trainable[narrow[0]].dtype}; load the model to train in float32 (compute.dtype narrows "
            "matrix products only)"
        )
    decayed = [parameter for parameter in trainable.values() if parameter.ndim >= 2]
    others = [parameter for parameter in trainable.values() if parameter.ndim < 2]
    parts: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    assert settings.learning_rate != "auto"
    # The fused kernel walks over weights and moments once, on CPU and CUDA.
    return torch.optim.AdamW(
        [part for part in parts if part["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
