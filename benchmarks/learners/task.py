"""What every trainer is to do: the same model, items, order and optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfstudy.learning.groups import Item
from selfstudy.learning.optim import OptimSettings
from selfstudy.models.load import load_model, load_tokenizer
from selfstudy.types import Group

Kind = Literal["sft", "dpo"]
Dtype = Literal["float32", "bfloat16"]

LEARNING_RATE = 1e-4
BETA = 0.1


@dataclass(frozen=True)
class Variant:
    """Settings of the other trainer, which change nothing of what is learnt.

    Attributes:
        micro_batches: In which it computes a step, one after the other.
        padding_free: Rows of a micro-batch stand in one long row; TRL's fine-tuning alone can do so.
    """

    micro_batches: int = 1
    padding_free: bool = False

    def __str__(self) -> str:
        """Say so."""
        shown = f"in {self.micro_batches} micro-batches" if self.micro_batches > 1 else "in one batch"
        return shown + (", padding-free" if self.padding_free else "")


@dataclass(frozen=True)
class Task:
    """A training.

    Attributes:
        kind: Fine-tuning on completions, or preference learning on pairs.
        folder: Of the model.
        dtype: Of matrix products; weights are float32.
        groups: Problems with their distinct completions.
        items: Completions, or pairs of them, in the order of learning.
        batch: Items of a step.
        steps: Optimizer steps.
        tokens_per_batch: Of this project's trainer; others go by ``variant``.
        threads: CPU threads.
        shuffled: Take the items in random order, in which few of a step are of one problem.
        variant: Settings of the other trainer.
    """

    kind: Kind
    folder: Path
    dtype: Dtype
    groups: tuple[Group, ...]
    items: tuple[Item, ...]
    batch: int
    steps: int
    tokens_per_batch: int
    threads: int
    shuffled: bool = False
    variant: Variant = Variant()

    @property
    def settings(self) -> OptimSettings:
        """A constant rate, no dropout, no clipping that bites: what all trainers can do alike."""
        return OptimSettings(
            learning_rate=LEARNING_RATE,
            warmup_ratio=0,
            min_lr_ratio=1,
            weight_decay=0.0,
            max_grad_norm=1e9,
            batch_size=self.batch,
            max_steps=self.steps,
            tokens_per_batch=self.tokens_per_batch,
            order="shuffled" if self.shuffled else "given",
            dropout="off",
        )

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Load the model in float32, and its tokenizer."""
        return load_model(self.folder), load_tokenizer(self.folder)

    def completions(self, item: Item) -> list[tuple[int, ...]]:
        """Return the token ids of an item's completions: one, or chosen and rejected."""
        return [self.groups[item.group].completions[place] for place in item.completions]

    def prompt(self, item: Item) -> tuple[int, ...]:
        """Return the prompt's tokens."""
        return self.groups[item.group].prompt_ids


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes:
        seconds: Of each optimizer step.
        memory: By which the process grew between its imports and its peak, in bytes: model, optimizer, activations.
        reference_seconds: For the reference's log-probabilities; 0 for fine-tuning.
        losses: Of each step.
        computing: Seconds of each step in forward, backward and optimizer; empty for the other trainer.
    """

    seconds: tuple[float, ...]
    memory: int
    reference_seconds: float
    losses: tuple[float, ...]
    computing: tuple[float, ...] = ()
