"""FSDP: weights, gradients and optimizer state are spread over the processes of a training.

Tested with two processes on a CPU; no GPU has run it yet.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from selfstudy.errors import TrainingError
from selfstudy.learning.logprobs import ENTRY, label_logps
from selfstudy.learning.world import World


def shard(model: PreTrainedModel, world: World, device: str) -> PreTrainedModel:
    """Return a copy of a model, spread over all processes; each layer's weights are whole only while it computes.

    Args:
        model: On the CPU, from where its layers go to ``device`` one by one.
        world: The processes.
        device: ``cpu`` or ``cuda``.

    Raises:
        TrainingError: The architecture does not say what its layers are.
    """
    names = set(model._no_split_modules or ())
    if not names:
        raise TrainingError(f"{type(model).__name__} does not say what its layers are; set sharding to none")
    sharded = copy.deepcopy(model)
    mesh = init_device_mesh(device, (world.size,))
    for module in list(sharded.modules()):
        # The layer with T5's position bias, which is read from outside of it, stays with the embeddings.
        shared = any(getattr(part, "has_relative_attention_bias", False) for part in module.modules())
        if type(module).__name__ in names and not shared:
            fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    # T5's encoder runs by itself, and the output layer once more for each chunk of labels.
    setattr(type(sharded), ENTRY, label_logps)  # a class made for FSDP alone
    register_fsdp_forward_method(sharded, ENTRY)
    return sharded


def unshard(sharded: nn.Module, model: nn.Module) -> None:
    """Copy weights into the model that they come from; all processes must call it."""
    with torch.no_grad():
        for parameter, spread in zip(model.parameters(), sharded.parameters(), strict=True):
            parameter.copy_(whole(spread))


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor as it is without FSDP; all processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor in the form that a parameter has."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value
