"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfstudy.learning.losses import PreferenceLoss


class Dpo(PreferenceLoss):
    """Equation 7, with the label smoothing of conservative DPO.

    Attributes:
        beta: Strength of the pull towards the reference, β.
        label_smoothing: ε, the assumed share of pairs whose preference is the other way round.
    """

    beta: Annotated[float, Field(gt=0)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0

    @property
    def needs_reference(self) -> bool:
        """The reward is measured from the reference."""
        return True

    def reward(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        """Return β (log π(y) − log ref(y)), equation 5 without its partition function."""
        return self.beta * (policy - reference)

    def of_margin(self, margin: Tensor) -> Tensor:
        """Return −(1−ε) log σ(m) − ε log σ(−m).

        Limit case: where the policy is the reference m = 0, so the loss is log 2 and its gradient with respect to
        log π(y_w) is −β/2 for every pair (ε = 0).
        """
        return -(1 - self.label_smoothing) * F.logsigmoid(margin) - self.label_smoothing * F.logsigmoid(-margin)
