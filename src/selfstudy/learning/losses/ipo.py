"""Identity preference optimisation (Azar et al. 2023, arXiv 2310.12036)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from selfstudy.learning.losses import PreferenceLoss


class Ipo(PreferenceLoss):
    """Equation 17: regression of the log-ratio margin to a finite target, so that sure preferences do not run away.

    Attributes:
        beta: Strength of the pull towards the reference, the paper's τ.
    """

    beta: Annotated[float, Field(gt=0)] = 0.1

    @property
    def needs_reference(self) -> bool:
        """The margin is measured from the reference."""
        return True

    def reward(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        """Return log π(y) − log ref(y), summed over tokens as in the paper."""
        return policy - reference

    def of_margin(self, margin: Tensor) -> Tensor:
        """Return (h − 1/(2β))².

        Limit case: where the policy is the reference h = 0, so the loss is 1/(4β²) and its gradient with respect to
        log π(y_w) is −1/β for every pair; at h = 1/(2β) both are 0.
        """
        return (margin - 1 / (2 * self.beta)) ** 2
