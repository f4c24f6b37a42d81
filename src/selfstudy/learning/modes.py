"""A model in training and out of it: dropout, gradient checkpointing, random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from transformers import PreTrainedModel

from selfstudy.errors import ModelError
from selfstudy.learning.optim import OptimSettings


def set_mode(model: nn.Module, settings: OptimSettings) -> None:
    """Put a model in the mode in which it takes steps."""
    # Checkpointing only works in training mode; dropout is then kept out by without_dropout.
    model.train(settings.dropout == "model" or settings.gradient_checkpointing)


@contextmanager
def in_training(model: PreTrainedModel, settings: OptimSettings) -> Iterator[None]:
    """Set a model up for training; afterwards it is in evaluation mode, as it was otherwise.

    Raises:
        ModelError: It is to do what its architecture cannot.
    """
    if settings.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise ModelError(
                f"{type(model).__name__} knows no gradient checkpointing; set gradient_checkpointing: false"
            )
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        with (
            torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []),
            without_dropout(model) if settings.dropout == "off" else nullcontext(),
        ):
            set_mode(model, settings)
            yield
    finally:
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        model.eval()


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Set every dropout rate to 0: of dropout modules, and the numbers that attention layers keep for themselves."""
    kept: list[tuple[nn.Module, str, float]] = []
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, nn.Dropout))):
                kept.append((module, name, value))
                setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
