"""The seam between a model and what knows rows: attention over a flat list of tokens.

Everything else in a transformer treats tokens alike. So sampling and learning hand a model one row with the tokens of
all rows behind each other, without padding, and a keyword argument ``step`` that reaches :func:`flat_attention` through
the library's attention interface; only the step knows which tokens see each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from selfstudy.errors import ModelError
from selfstudy.models.compute import out_of_memory
from selfstudy.models.load import family

# What to do with a model that attends in a way of its own.
OTHERS = "take a model of another architecture, such as Llama, Qwen, SmolLM, Gemma, GPT-2, T5 or BART"
IMPLEMENTATION = "selfstudy_flat"
# Added to scores that must not count. Finite, so that a token which sees nothing of a part weighs it with 0, not NaN.
HIDDEN = -1e30


class Step(Protocol):
    """What a forward pass does with queries, keys and values."""

    def attend(self, call: Call) -> Tensor:
        """Return (1, N, H, D) for the N tokens of the pass."""


@dataclass(frozen=True, slots=True)
class Call:
    """One layer's attention. Shapes: H query heads, Hkv key–value heads, N tokens of the pass.

    Attributes:
        module: The layer's attention module.
        query: (1, H, N, D).
        key: (1, Hkv, N, D); where the module attends to the encoder, what the encoder's output was laid out as.
        value: Likewise.
        scaling: Factor of the scores.
        window: A token sees itself and the ``window - 1`` before it; None: all before it.
        softcap: Scores are bounded by ``softcap · tanh(score / softcap)``.
        dropout: Of attention weights.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float
    window: int | None = None
    softcap: float | None = None
    dropout: float = 0.0


def flat_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    step: Step | None = None,
    **unused: Any,  # position_bias …: the library passes what each architecture has
) -> tuple[Tensor, None]:
    """Attend as the library's interface asks: (1, H, N, D) in, (1, N, H, D) out.

    Raises:
        ModelError: The architecture does not hand keyword arguments down, builds a mask of its own, or has sinks.
    """
    if step is None or attention_mask is not None or s_aux is not None:
        what = "does not say which step it is in" if step is None else "masks or sinks of its own"
        raise ModelError(f"{type(module).__name__}: {what}; {OTHERS}")
    noted = _WINDOWS.get()
    if noted is not None and sliding_window is not None:
        noted.add(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return step.attend(Call(module, query, key, value, scale, sliding_window, softcap, dropout)), None


AttentionInterface.register(IMPLEMENTATION, flat_attention)

# Where noting_windows() notes; None where nobody asks.
_WINDOWS: ContextVar[set[int] | None] = ContextVar("windows", default=None)


@contextmanager
def noting_windows() -> Iterator[set[int]]:
    """Note the windows that layers ask for meanwhile."""
    noted: set[int] = set()
    token = _WINDOWS.set(noted)
    try:
        yield noted
    finally:
        _WINDOWS.reset(token)


@contextmanager
def attending_flat(model: PreTrainedModel, *, encoder: bool = False) -> Iterator[None]:
    """Let a model attend through :func:`flat_attention`; restore it afterwards. May be nested.

    Args:
        model: Causal, or like T5 or BART.
        encoder: Whether an encoder's input is flat, too. Else it has rows and attends as it is used to; where it shares
            the decoder's config (BART), :func:`attending` must see to that.

    Raises:
        ModelError: A causal architecture without the attention interface, or an unknown kind of encoder–decoder.
    """
    with ExitStack() as stack:
        if family(model) == "causal":
            if not model._supports_attention_backend:  # the library's word for: attention goes through its interface
                raise ModelError(f"{type(model).__name__} keeps its attention to itself; {OTHERS}")
            stack.enter_context(attending(model.config, IMPLEMENTATION))
        else:
            parts = parts_of(model)
            stack.enter_context(attending(model.get_decoder().config, IMPLEMENTATION))
            biased = [parts.decoder_bias, parts.cross[0]] if parts.decoder_bias is not None else []
            if encoder:
                stack.enter_context(attending(model.get_encoder().config, IMPLEMENTATION))
                biased += [parts.encoder_bias] if parts.encoder_bias is not None else []
            for attention in biased:
                stack.enter_context(_without_bias(attention))
        yield


@contextmanager
def naming_failures(model: PreTrainedModel) -> Iterator[None]:
    """Raise a :class:`ModelError` that names the architecture where a forward pass fails; not where memory runs out."""
    try:
        yield
    except (RuntimeError, TypeError, AttributeError, ValueError) as fault:
        if out_of_memory(fault):
            raise
        raise ModelError(
            f"{type(model).__name__}: a flat list of tokens makes it fail ({type(fault).__name__}: {fault}); {OTHERS}"
        ) from fault


@contextmanager
def attending(config: Any, implementation: str) -> Iterator[None]:
    """Let the models of a config attend in another way."""
    was, config._attn_implementation = config._attn_implementation, implementation
    try:
        yield
    finally:
        config._attn_implementation = was


@contextmanager
def _without_bias(attention: nn.Module) -> Iterator[None]:
    """Spare T5 the bias of every token of the flat list for every other; the step has what counts.

    The library makes it in the first layer, zeros as large where an attention has no bias.
    """
    none = torch.zeros(1, 1, 1, 1)
    with _replaced(attention, has_relative_attention_bias=True, compute_bias=lambda *_, **__: none):
        yield


@contextmanager
def placed(embedding: nn.Module, positions: Tensor) -> Iterator[None]:
    """Let BART's position embedding (encoder's or decoder's) give the N tokens of a flat list their ``positions``."""
    found: Any = embedding

    def forward(*_: Any, **__: Any) -> Tensor:
        return F.embedding(positions[None] + getattr(found, "offset", 0), found.weight)  # Pegasus and Marian have none

    with _replaced(embedding, forward=forward):
        yield


@contextmanager
def _replaced(module: nn.Module, **attributes: Any) -> Iterator[None]:
    """Set attributes of a module, found before its class's; restore what was there."""
    own = vars(module)
    before = {name: own[name] for name in attributes if name in own}
    own.update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            del own[name]
        own.update(before)


@dataclass(frozen=True, slots=True)
class Parts:
    """The attentions of an encoder–decoder model.

    Attributes:
        cross: Those that look at the encoder's output, layer by layer.
        decoder_bias: T5's self-attention that holds the bias of all layers of the decoder; None for BART.
        encoder_bias: Likewise.
    """

    cross: tuple[nn.Module, ...]
    decoder_bias: nn.Module | None
    encoder_bias: nn.Module | None


def parts_of(model: PreTrainedModel) -> Parts:
    """Find the attentions of an encoder–decoder model.

    Raises:
        ModelError: It is built neither as T5 nor as BART.
    """
    decoder = model.get_decoder()
    cross: list[Any] = [getattr(layer, "encoder_attn", None) for layer in getattr(decoder, "layers", ())]
    if cross and all(hasattr(module, "k_proj") and hasattr(module, "num_heads") for module in cross):
        return Parts(tuple(cross), None, None)
    holders = [_bias_holder(stack) for stack in (decoder, model.get_encoder())]
    if None in holders:
        raise ModelError(
            f"{type(model).__name__} is not supported here; of encoder–decoder models, take a relative of T5 (Flan-T5, "
            "mT5) or BART"
        )
    blocks: Any = decoder.block
    return Parts(tuple(block.layer[1].EncDecAttention for block in blocks), *holders)


def _bias_holder(stack: Any) -> nn.Module | None:
    """Return the self-attention that holds the position bias of a T5 stack; None where it is built otherwise."""
    attentions = [getattr(block.layer[0], "SelfAttention", None) for block in getattr(stack, "block", ())]
    biased = [getattr(attention, "has_relative_attention_bias", None) for attention in attentions]
    if biased != [True] + [False] * (len(biased) - 1):  # UMT5 has a bias of its own in each layer
        return None
    return attentions[0]


def position_bias(attention: nn.Module, offsets: Tensor) -> Tensor:
    """Return T5's bias (H, …) of ``offsets`` (…), the position that is looked at minus the one that looks."""
    holder: Any = attention
    buckets = holder._relative_position_bucket(
        offsets,
        bidirectional=not holder.is_decoder,
        num_buckets=holder.relative_attention_num_buckets,
        max_distance=holder.relative_attention_max_distance,
    )
    bias: Tensor = holder.relative_attention_bias(buckets)
    return bias.movedim(-1, 0)


def check_window(model: PreTrainedModel, windowed: bool, length: int, remedy: str) -> None:
    """Refuse rows so long that something sets in which a probe with few tokens could not see.

    Args:
        model: Of either family.
        windowed: Whether its attention said that it looks back a limited way only.
        length: Of the longest row.
        remedy: What makes rows shorter.

    Raises:
        ModelError: ``length`` exceeds a window that no layer passed on, or the length at which all rows of a batch
            change their rotary frequencies together.
    """
    config = model.config.get_text_config()
    rotary = getattr(config, "rope_parameters", None) or {}
    original = rotary.get("original_max_position_embeddings")
    if rotary.get("rope_type") in ("longrope", "dynamic") and original is not None and length > original:
        raise ModelError(
            f"{type(model).__name__}: rows of up to {length} tokens exceed {original}, where its rotary frequencies "
            f"change for a batch as a whole; {remedy}"
        )
    kinds = getattr(config, "layer_types", None)
    for name, kind, told in (
        ("sliding_window", "sliding_attention", windowed),
        ("attention_chunk_size", "chunked_attention", False),
    ):
        window = getattr(config, name, None)
        if window is not None and length > window and (kinds is None or kind in kinds) and not told:
            raise ModelError(
                f"{type(model).__name__}: rows of up to {length} tokens exceed {name}={window}, which its attention is "
                f"not told of here; {remedy}"
            )
