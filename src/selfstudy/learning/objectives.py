"""What a training run learns: which completions it needs, and the loss of their log-probabilities.

The training loop is the same for all objectives; each only maps log-probabilities to a loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from selfstudy.errors import TrainingError
from selfstudy.learning.groups import Item
from selfstudy.learning.logprobs import CompletionLogps
from selfstudy.learning.losses import PreferenceLoss
from selfstudy.types import Completion, Example, Group, Pair

METRICS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
)


class Objective(Protocol):
    """What the training loop needs to know."""

    @property
    def name(self) -> str:
        """Return what stands beside the progress bar."""

    @property
    def groups(self) -> Sequence[Group]:
        """Return prompts with every completion that is learnt from, once."""

    @property
    def items(self) -> Sequence[Item]:
        """Return what ``batch_size`` counts: examples or pairs."""

    @property
    def metrics(self) -> Sequence[str]:
        """Return the names of what :meth:`loss` measures beside the loss."""

    def total(self, batch: Sequence[int]) -> int:
        """Return what the loss of a step is normalised by, over all its micro-batches."""

    def loss(
        self, logps: CompletionLogps, rows: Tensor, part: Sequence[int], total: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a micro-batch's share of the step's loss (scalar), and of the step's metrics.

        Args:
            logps: Of the distinct completions of the micro-batch.
            rows: (items, completions per item) Where each item's completions stand in ``logps``.
            part: The micro-batch: indices into ``items``.
            total: What :meth:`total` returned for the step. Shares of a step are added up.
        """


@dataclass(frozen=True, slots=True)
class Imitation:
    """Supervised fine-tuning: negative log-likelihood per completion token; every token of a step weighs the same.

    Attributes:
        groups: Prompts with the completions to imitate.
        items: One for each example.
    """

    groups: Sequence[Group]
    items: Sequence[Item]
    name: str = "sft"
    metrics: tuple[str, ...] = ()

    def total(self, batch: Sequence[int]) -> int:
        """Return the completion tokens of the step."""
        items = (self.items[index] for index in batch)
        return max(1, sum(self.groups[item.group].counted(item.completions[0]) for item in items))

    def loss(
        self, logps: CompletionLogps, rows: Tensor, part: Sequence[int], total: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return −Σ log π(y) / total over the micro-batch's examples; one that stands in it twice counts twice."""
        return -logps.sums()[rows[:, 0].to(logps.logps.device)].sum() / total, {}


@dataclass(frozen=True)
class Preference:
    """Preference learning: the mean over the pairs of a step of a preference loss.

    Attributes:
        groups: Prompts with their distinct completions.
        items: One for each pair: (chosen, rejected).
        reference: (C,) The reference's log-probability of every completion, group by group, on the CPU; zeros for a
            loss that needs none.
        preference_loss: The loss of a pair.
    """

    groups: Sequence[Group]
    items: Sequence[Item]
    reference: Tensor
    preference_loss: PreferenceLoss
    name: str = "preference"
    metrics: tuple[str, ...] = METRICS

    def __post_init__(self) -> None:
        """Refuse reference log-probabilities that do not cover every completion."""
        expected = sum(len(group.completions) for group in self.groups)
        if self.reference.shape != (expected,) or not self.reference.isfinite().all():
            raise TrainingError(
                f"reference log-probabilities do not cover the pairs: {expected} finite ones are needed, received "
                f"{int(self.reference.isfinite().sum())} in shape {tuple(self.reference.shape)}; compute them again"
            )

    @cached_property
    def _rows(self) -> Tensor:
        """(items, 2) Where chosen and rejected stand among all completions."""
        starts = list(accumulate((len(group.completions) for group in self.groups), initial=0))
        return torch.tensor([[starts[item.group] + c for c in item.completions] for item in self.items])

    @cached_property
    def _reference_of(self) -> Tensor:
        """(items, 2) The reference's log-probabilities of chosen and rejected."""
        return self.reference[self._rows]

    def total(self, batch: Sequence[int]) -> int:
        """Return the pairs of the step."""
        return len(batch)

    def loss(
        self, logps: CompletionLogps, rows: Tensor, part: Sequence[int], total: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of the pairs and the metrics under the names that everybody uses."""
        rows = rows.to(logps.logps.device)
        reference = self._reference_of[torch.tensor(part)].to(rows.device)
        losses, metrics = self._of_pairs(logps.sums()[rows], reference, logps.lengths[rows])
        return losses.sum() / total, {name: values.sum() / total for name, values in metrics.items()}

    @torch.no_grad()
    def measure(self, policy: Tensor) -> dict[str, float]:
        """Return the mean loss and metrics over all pairs, given the policy's (C,) log-probabilities of completions."""
        lengths = torch.tensor([max(1, g.counted(c)) for g in self.groups for c in range(len(g.completions))])
        losses, metrics = self._of_pairs(policy[self._rows], self._reference_of, lengths[self._rows])
        return {"loss": losses.mean().item(), **{name: values.mean().item() for name, values in metrics.items()}}

    def _of_pairs(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return losses (P,) and metrics (P,), given (P, 2) for chosen and rejected."""
        losses = self.preference_loss.loss(
            policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], lengths[:, 0], lengths[:, 1]
        )
        with torch.no_grad():
            chosen, rejected = (
                self.preference_loss.reward(policy[:, i], reference[:, i], lengths[:, i]) for i in (0, 1)
            )
            margins = chosen - rejected
            measured = (chosen, rejected, margins, (margins > 0).float(), policy[:, 0], policy[:, 1])
        return losses, dict(zip(METRICS, measured, strict=True))


def group_examples(
    examples: Sequence[Example], prompts: Mapping[str, Sequence[int]], *, mask_forced: bool = False
) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    """Gather examples by problem: groups with distinct completions, and one item for each example.

    Args:
        examples: In the order that items keep.
        prompts: Prompt tokens by problem id.
        mask_forced: Leave the tokens that a hook wrote out of the loss.
    """
    return _gather([(example.problem_id, (example.completion,)) for example in examples], prompts, mask_forced)


def group_pairs(
    pairs: Sequence[Pair], prompts: Mapping[str, Sequence[int]], *, mask_forced: bool = False
) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    """Gather pairs by problem: groups with distinct completions, and one (chosen, rejected) item for each pair.

    Args:
        pairs: In the order that items keep.
        prompts: Prompt tokens by problem id.
        mask_forced: Leave the tokens that a hook wrote out of the loss.
    """
    return _gather([(pair.problem_id, (pair.chosen, pair.rejected)) for pair in pairs], prompts, mask_forced)


Distinct = tuple[tuple[int, ...], tuple[tuple[int, int], ...]]  # tokens, and the spans of them that do not count


def _gather(
    rows: Sequence[tuple[str, tuple[Completion, ...]]], prompts: Mapping[str, Sequence[int]], mask_forced: bool
) -> tuple[tuple[Group, ...], tuple[Item, ...]]:
    if not rows:
        raise TrainingError("nothing to learn from: there is not one example or pair")
    distinct: dict[str, dict[Distinct, int]] = {}
    group_of: dict[str, int] = {}
    items = []
    for problem_id, completions in rows:
        if problem_id not in prompts:
            raise TrainingError(f"{problem_id}: no prompt for this problem; it is not among the run's problems")
        seen = distinct.setdefault(problem_id, {})
        places = tuple(
            seen.setdefault((completion.token_ids, completion.forced if mask_forced else ()), len(seen))
            for completion in completions
        )
        items.append(Item(group_of.setdefault(problem_id, len(group_of)), places))
    groups = []
    for problem_id, seen in distinct.items():
        tokens, uncounted = zip(*seen, strict=True)
        groups.append(Group(problem_id, tuple(prompts[problem_id]), tokens, uncounted if any(uncounted) else ()))
    return tuple(groups), tuple(items)
