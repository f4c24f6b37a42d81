"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from selfstudy.learning.losses import PreferenceLoss


class Dpo(PreferenceLoss):
    """Equation 7, with the label smoothing of conservative DPO and the NLL term of arXiv 2404.19733.

    Attributes:
        beta: Strength of the pull towards the reference, β.
        nll_weight: α, weight of the mean negative log-probability per token of the chosen completion.
        label_smoothing: ε, the assumed share of pairs whose preference is the other way round.
    """

    beta: Annotated[float, Field(gt=0)] = 0.1
    nll_weight: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0

    @property
    def needs_reference(self) -> bool:
        """The reward is measured from the reference."""
        return True

    def reward(self, policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
        """Return β (log π(y) − log ref(y)), equation 5 without its partition function."""
        return self.beta * (policy - reference)

    def loss(
        self,
        policy_chosen: Tensor,
        policy_rejected: Tensor,
        reference_chosen: Tensor,
        reference_rejected: Tensor,
        chosen_lengths: Tensor,
        rejected_lengths: Tensor,
    ) -> Tensor:
        """Return −(1−ε) log σ(m) − ε log σ(−m) − α log π(y_w) / |y_w| with the margin m of the rewards.

        Limit case: where the policy is the reference m = 0, so the loss is log 2 and its gradient with respect to
        log π(y_w) is −β/2 for every pair (ε = α = 0).
        """
        margin = self.reward(policy_chosen, reference_chosen, chosen_lengths) - self.reward(
            policy_rejected, reference_rejected, rejected_lengths
        )
        smoothing = self.label_smoothing
        loss = -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)
        return loss - self.nll_weight * policy_chosen / chosen_lengths
