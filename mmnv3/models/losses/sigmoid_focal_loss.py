"""The focal loss of the paper's detector."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from mmnv3.registry import MODELS


@MODELS.register_module()
class SigmoidFocalLoss(nn.Module):
    """Focal loss over independent classes without a background class.

    mmdet's ``FocalLoss`` needs mmcv's compiled operator on a GPU; torchvision's
    function needs none anywhere.

    Args:
        alpha: Weight of positives; negatives weigh ``1 - alpha``. The pipeline config
            of the paper's detector has 0.75.
        gamma: How strongly easy examples are played down.
        loss_weight: Factor of the result.
    """

    use_sigmoid = True

    def __init__(
        self, alpha: float = 0.75, gamma: float = 2.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor, avg_factor: float
    ) -> Tensor:
        """Computes the loss.

        Args:
            pred: Logits, (N, C).
            target: Class indices, (N,); C is background.
            weight: Weight of each row, (N,).
            avg_factor: What the sum is divided by.

        Returns:
            A scalar.
        """
        wanted = F.one_hot(target, pred.size(1) + 1)[:, :-1].to(pred.dtype)
        losses = sigmoid_focal_loss(pred, wanted, self.alpha, self.gamma)
        return self.loss_weight * (losses.sum(1) * weight).sum() / avg_factor
