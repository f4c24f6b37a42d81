"""Simple preference optimisation (Meng et al. 2024, arXiv 2405.14734)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfstudy.learning.losses import PreferenceLoss


class Simpo(PreferenceLoss):
    """Equation 6: mean log-probability per token as the reward, without a reference model.

    Attributes:
        beta: Scale of the reward, β.
        gamma: Margin that the chosen completion's reward should have, γ.
        label_smoothing: ε, the assumed share of pairs whose preference is the other way round.
    """

    beta: Annotated[float, Field(gt=0)] = 2.0
    gamma: Annotated[float, Field(ge=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0

    @property
    def needs_reference(self) -> bool:
        """Return False: it has none, and so nothing holds the policy near where it began."""
        return False

    def reward(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        """Return β log π(y) / |y|, equation 4."""
        return self.beta * policy / lengths

    def of_margin(self, margin: Tensor) -> Tensor:
        """Return −(1−ε) log σ(m − γ) − ε log σ(γ − m).

        Limit case: where both completions are equally likely per token the loss is log(1 + e^γ), and its gradient with
        respect to log π(y_w) is −β σ(γ) / |y_w| (ε = 0).
        """
        beyond = margin - self.gamma
        return -(1 - self.label_smoothing) * F.logsigmoid(beyond) - self.label_smoothing * F.logsigmoid(-beyond)
