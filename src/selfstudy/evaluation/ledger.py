"""What a stage cost: floating-point operations, by the usual estimate.

A multiplication with a matrix of N parameters takes 2N operations a token, training three times the forward pass (6N),
and attention another 4 · width operations a layer for every pair of a token and one it attends to (Kaplan et al. 2020,
arXiv 2001.08361, table 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stack:
    """A causal model, or one half of an encoder–decoder one.

    Attributes:
        parameters: In the matrices of its layers that a token is multiplied with.
        layers: Number of layers.
        width: Attention heads × size of a head.
        output: Parameters of the output layer, which the tokens of completions alone reach.
    """

    parameters: int
    layers: int
    width: int
    output: int = 0

    def flops(self, tokens: int, pairs: int) -> int:
        """Return the operations for ``tokens`` that attend to ``pairs`` positions altogether."""
        return 2 * self.parameters * tokens + 4 * self.width * self.layers * pairs


def forward_flops(decoder: Stack, prompt: int, completions: Sequence[int], encoder: Stack | None = None) -> int:
    """Return the operations of one forward pass over a prompt, computed once, and its completions.

    Generation with a cache takes as many, since every token attends to the same positions. The last token of a
    completion, from which nothing is predicted, counts like the others.

    Args:
        decoder: The causal model, or the decoder.
        prompt: Tokens of the prompt.
        completions: Tokens of each completion.
        encoder: Of an encoder–decoder model; it reads the prompt and the decoder attends to all of it.
    """
    # A causal token attends to itself and what stands before it; C(t + 1, 2) pairs for t tokens.
    pairs = sum(length * prompt + length * (length + 1) // 2 for length in completions)
    output = 2 * decoder.output * sum(completions)
    if encoder is None:
        return output + decoder.flops(prompt + sum(completions), pairs + prompt * (prompt + 1) // 2)
    return output + decoder.flops(sum(completions), pairs) + encoder.flops(prompt, prompt**2)


def training_flops(decoder: Stack, prompt: int, completions: Sequence[int], encoder: Stack | None = None) -> int:
    """Return the operations of forward and backward pass: the latter takes twice the former."""
    return 3 * forward_flops(decoder, prompt, completions, encoder)
