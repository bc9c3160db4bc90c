"""The controller: a recurrent network that writes architectures token by token."""

from __future__ import annotations

from collections.abc import Sequence

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
