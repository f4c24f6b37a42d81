"""Preference losses: pure functions of the log-probabilities of chosen and rejected completions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field
from torch import Tensor

from selfstudy.config import Settings
from selfstudy.plugins import PluginSpec, load, parse_spec

FAMILY = "selfstudy.learning.losses"
LossSpec = Annotated[PluginSpec, BeforeValidator(partial(parse_spec, FAMILY))]


class PreferenceLoss(Settings, ABC):
    """Makes a model prefer the chosen to the rejected completion of a pair.

    All tensors are (P,), one value for each pair: log-probabilities (nats) summed over a completion's tokens, and
    numbers of tokens. Where ``needs_reference`` is False the reference values are zeros and mean nothing. A loss of
    another form than a function of the margin between the rewards overrides :meth:`loss`.

    Attributes:
        nll_weight: α, weight of the mean negative log-probability per token of the chosen completion (arXiv
            2404.19733, equation 2), which keeps right solutions from becoming less likely together with wrong ones.
    """

    nll_weight: Annotated[float, Field(ge=0)] = 0.0

    @property
    @abstractmethod
    def needs_reference(self) -> bool:
        """Whether the loss uses the reference model's log-probabilities."""

    @abstractmethod
    def reward(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        """Return the implicit reward (P,) of completions; reported as ``rewards/chosen`` and ``rewards/rejected``."""

    @abstractmethod
    def of_margin(self, margin: Tensor) -> Tensor:
        """Return the loss (P,), given by how much the reward of the chosen completion is larger."""

    def loss(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor,
        reference_rejected: Tensor,
        chosen_lengths: Tensor,
        rejected_lengths: Tensor,
    ) -> Tensor:
        """Return the loss (P,) of each pair; the trainer takes the mean over the pairs of a step."""
        chosen = self.reward(policy_chosen, reference_chosen, chosen_lengths)
        rejected = self.reward(policy_rejected, reference_rejected, rejected_lengths)
        return self.of_margin(chosen - rejected) - self.nll_weight * policy_chosen / chosen_lengths


def load_loss(spec: PluginSpec) -> PreferenceLoss:
    """Make the loss that ``spec`` names."""
    return load(FAMILY, spec, PreferenceLoss)


def default_loss() -> PluginSpec:
    """Return the paper's loss: DPO with β = 0.1."""
    return parse_spec(FAMILY, "dpo")
