"""Losses."""

from mmnv3.models.losses.sigmoid_focal_loss import SigmoidFocalLoss

__all__ = ['SigmoidFocalLoss']
