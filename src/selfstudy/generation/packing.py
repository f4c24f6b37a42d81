"""Weights laid out as a CPU's matrix product wants them, once for many steps instead of in each."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

# The packed weights are a second copy: larger models go without.
_BYTES = 4 * 2**30
# In smaller layers the call costs more than the packed product saves.
_WEIGHTS = 2**17


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Let the linear layers of a model on a CPU multiply by packed weights, which must not change meanwhile.

    A decoding step multiplies a few rows by every weight, so that laying the weights out anew in each product (as
    ``F.linear`` does) costs as much as the product. Elsewhere than on an x86 CPU nothing happens.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear and module.weight.numel() >= _WEIGHTS]
    with ExitStack() as stack:
        for layer in layers if _packable(model) else ():
            forward = _packed_forward(layer)
            setattr(layer, "forward", forward)  # noqa: B010 # found before the class's own
            stack.callback(delattr, layer, "forward")
        yield


def _packed_forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    weight, bias = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach()), layer.bias

    def forward(x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product

    return forward


def _packable(model: PreTrainedModel) -> bool:
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return (
        model.device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch._C._has_mkldnn
        and (model.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and size <= _BYTES
    )
