"""The controller, which writes architectures token by token, and how it learns.

It learns by proximal policy optimisation (arXiv 1707.06347).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# NASNet's controller, which MnasNet takes over: one LSTM of 100 units, weights drawn
# uniformly from so narrow a range that it starts as a nearly uniform distribution.
UNITS = 100
INIT_RANGE = 0.1


class Controller(nn.Module):
    """A distribution over token sequences, one softmax for each kind of choice.

    Args:
        kinds: How many options each kind of choice has, in order.
        repeats: How often the kinds repeat: the stages.
        units: Units of the LSTM, and of the embeddings.
    """

    def __init__(self, kinds: Sequence[int], repeats: int, units: int = UNITS) -> None:
        super().__init__()
        self.kinds, self.repeats = tuple(kinds), repeats
        # A start token, then the options of every kind.
        self.first = [1 + sum(self.kinds[:kind]) for kind in range(len(self.kinds))]
        self.embed = nn.Embedding(1 + sum(self.kinds), units)
        # The stage is told, so that equal choices before do not hide where we are.
        self.embed_stage = nn.Embedding(repeats, units)
        self.lstm = nn.LSTM(units, units, batch_first=True)
        self.logits = nn.ModuleList(nn.Linear(units, options) for options in self.kinds)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INIT_RANGE, INIT_RANGE)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws token sequences.

        Args:
            count: How many.
            generator: Randomness.

        Returns:
            (count, repeats · len(kinds)) int64.
        """
        previous = torch.zeros(count, 1, dtype=torch.int64)
        state, drawn = None, []
        with torch.no_grad():
            for step in range(self.repeats * len(self.kinds)):
                stage, kind = divmod(step, len(self.kinds))
                inputs = self.embed(previous) + self.embed_stage.weight[stage]
                hidden, state = self.lstm(inputs, state)
                probabilities = self.logits[kind](hidden[:, 0]).softmax(dim=1)
                token = probabilities.multinomial(1, generator=generator)
                drawn.append(token)
                previous = token + self.first[kind]
        return torch.cat(drawn, dim=1)

    def evaluate(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Says how probable token sequences are.

        Args:
            tokens: (N, repeats · len(kinds)) int64.

        Returns:
            The log-probability of every token, of the shape of ``tokens``, and the
            entropy of every choice on the way, likewise, in nats.
        """
        kinds = len(self.kinds)
        offsets = torch.tensor(self.first).repeat(self.repeats)
        previous = (tokens + offsets).roll(1, dims=1)
        previous[:, 0] = 0
        stages = torch.arange(self.repeats).repeat_interleave(kinds)
        hidden, _ = self.lstm(self.embed(previous) + self.embed_stage(stages))
        log_probs, entropies = torch.empty(tokens.shape), torch.empty(tokens.shape)
        for kind, logits in enumerate(self.logits):
            log_softmax = logits(hidden[:, kind::kinds]).log_softmax(dim=2)
            drawn = tokens[:, kind::kinds, None]
            log_probs[:, kind::kinds] = log_softmax.gather(2, drawn)[..., 0]
            entropies[:, kind::kinds] = -(log_softmax.exp() * log_softmax).sum(2)
        return log_probs, entropies


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

    def sample(self, count: int, generator: torch.Generator) -> list[tuple[int, ...]]:
        """Draws token sequences as the controller has it.

        Args:
            count: How many.
            generator: Of everything random.
        """
        return list(map(tuple, self.controller.sample(count, generator).tolist()))

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

    def state_dict(self) -> dict[str, Any]:
        """Everything that learning goes on from."""
        return dict(
            controller=self.controller.state_dict(),
            optimiser=self.optimiser.state_dict(),
            baseline=self.baseline,
            variance=self.variance,
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state_dict`.

        Raises:
            Exception: When it is of another controller, or damaged.
        """
        self.controller.load_state_dict(state['controller'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.baseline, self.variance = state['baseline'], float(state['variance'])
        numbers = [*self.controller.parameters(), torch.tensor(self.variance)]
        if self.baseline is not None:
            numbers.append(torch.tensor(float(self.baseline)))
        if not all(bool(torch.isfinite(number).all()) for number in numbers):
            raise ValueError('the controller is not finite')
