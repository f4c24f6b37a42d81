"""How much arithmetic and memory traffic a task takes: what its rate is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from contenders.task import Drawn, Task

_CROSS = (".EncDecAttention.k", ".EncDecAttention.v")
_KEYS = (".k_proj", ".v_proj", ".SelfAttention.k", ".SelfAttention.v")


def operations(task: Task, drawn: Drawn) -> float:
    """Return the floating-point operations of the linear layers.

    A prompt is computed once, what a calculator writes does not reach the output layer; nothing else is left out.
    """
    prompts = sum(map(len, task.prompts))
    completions = sum(map(len, drawn.completions))
    tokens = {"prompt": prompts, "both": prompts + completions, "completion": completions}
    tokens["output"] = completions - drawn.forced
    return float(sum(2 * layer.weight.numel() * tokens[sees] for _, layer, sees in _layers(task)))


def step_bytes(task: Task) -> float:
    """Return the bytes that decoding has to read where all rows are of equal length.

    Every step reads the weights, each row's own keys and values, and a prompt's once for all its rows.
    """
    layers = list(_layers(task))
    size = task.model.dtype.itemsize
    weights = sum(layer.weight.numel() for _, layer, sees in layers if sees != "prompt")
    decoder = [(name, layer.out_features) for name, layer, _ in layers if not name.startswith("encoder.")]
    own, shared = (sum(width for name, width in decoder if name.endswith(ends)) for ends in (_KEYS, _CROSS))
    length = task.max_new_tokens
    lengths = [len(prompt) for prompt in task.prompts]
    before = 0 if task.format.family == "seq2seq" else sum(lengths)
    rows = len(lengths) * task.samples
    seen = length * before + rows * length * (length + 1) // 2
    steps = math.ceil(rows / task.rows) * length
    return float(size * (steps * weights + own * seen + shared * length * sum(lengths)))


def _layers(task: Task) -> Iterator[tuple[str, nn.Linear, str]]:
    """Yield linear layers and which tokens they see."""
    output = task.model.get_output_embeddings()
    seq2seq = task.format.family == "seq2seq"
    for name, layer in task.model.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        if layer is output:
            yield name, layer, "output"
        elif name.startswith("encoder.") or name.endswith(_CROSS):
            yield name, layer, "prompt"
        else:
            yield name, layer, "completion" if seq2seq else "both"
