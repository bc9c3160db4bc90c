"""Proximal policy optimisation (arXiv 1707.06347) of the controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmnv3.search.nas.controller import Controller


@dataclass(frozen=True)
class PPOSettings:
    """How the controller learns.

    NASNet's rate of 0.00035 and entropy weight of 1e-5 are for the 8000 and more
    samples of a data centre. The defaults are for a few hundred.

    Args:
        lr: Adam's rate.
        clip: How far a batch may move a token's probability, as a ratio (PPO,
            Section 6.1).
        epochs: Passes over every batch.
        entropy: Weight of the entropy, which keeps choices open.
        baseline_decay: Of the moving average of the reward, and of its spread.
        max_norm: Limit of the gradient's norm.
    """

    lr: float = 0.003
    clip: float = 0.2
    epochs: int = 5
    entropy: float = 0.02
    baseline_decay: float = 0.8
    max_norm: float = 1.0


class PPO:
    """Moves a controller towards the token sequences that were rewarded.

    Args:
        controller: The controller.
        settings: How it learns.
    """

    def __init__(
        self, controller: Controller, settings: PPOSettings = PPOSettings()
    ) -> None:
        self.controller, self.settings = controller, settings
        self.optimiser = torch.optim.Adam(controller.parameters(), lr=settings.lr)
        self.baseline: float | None = None
        self.variance = 0.0

    def update(self, tokens: Sequence[Sequence[int]], rewards: Sequence[float]) -> None:
        """Learns from a batch.

        Args:
            tokens: Sequences that the controller drew.
            rewards: Finite rewards, one for each. None at all changes nothing.
        """
        if not rewards:
            return
        batch = torch.tensor(tokens)
        advantages = self._advantages(rewards)
        with torch.no_grad():
            before, _ = self.controller.evaluate(batch)
        for _ in range(self.settings.epochs):
            loss = self._loss(batch, before, advantages)
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(
                self.controller.parameters(), self.settings.max_norm
            )
            self.optimiser.step()

    def _advantages(self, rewards: Sequence[float]) -> Tensor:
        """How much better than of late, in units of the rewards' spread of late.

        Accuracies differ by hundredths early in a search and mAPs by less; without the
        unit the rate would have to be found anew for every task.
        """
        values = torch.tensor(rewards, dtype=torch.float64)
        decay = self.settings.baseline_decay
        mean = float(values.mean())
        if self.baseline is None:
            self.baseline = mean
            self.variance = float(((values - mean) ** 2).mean())
        differences = values - self.baseline
        variance = float((differences**2).mean())
        self.baseline = decay * self.baseline + (1 - decay) * mean
        self.variance = decay * self.variance + (1 - decay) * variance
        return (differences / (self.variance**0.5 + 1e-8)).float()[:, None]

    def _loss(self, batch: Tensor, before: Tensor, advantages: Tensor) -> Tensor:
        log_probs, entropies = self.controller.evaluate(batch)
        ratios = (log_probs - before).exp()
        clip = self.settings.clip
        gains = torch.minimum(
            ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages
        )
        return -gains.mean() - self.settings.entropy * entropies.mean()

    def state_dict(self) -> dict:
        """Everything that learning goes on from."""
        return dict(
            controller=self.controller.state_dict(),
            optimiser=self.optimiser.state_dict(),
            baseline=self.baseline,
            variance=self.variance,
        )

    def load_state_dict(self, state: dict) -> None:
        """Goes on from :meth:`state_dict`."""
        self.controller.load_state_dict(state['controller'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.baseline, self.variance = state['baseline'], state['variance']
