"""What a network is worth: its accuracy, and how its latency compares to the target."""

from __future__ import annotations

from dataclasses import dataclass

from mmnv3.errors import UserError

# Exponents of a network that meets the target, and of one that misses it.
# MnasNet, Section 3: twice the latency is to be worth about 5 % of accuracy.
# MobileNetV3, Section 4.1: accuracy changes more with latency among small networks.
EXPONENTS: dict[str, tuple[float, float]] = {
    'large': (-0.07, -0.07),
    'small': (-0.15, -0.15),
    # MnasNet, Figure 4: a constraint, for which nothing is gained below the target.
    'hard': (0.0, -1.0),
}


@dataclass(frozen=True)
class Reward:
    """``ACC · (LAT / TAR)^w`` (MnasNet, equations 2 and 3).

    Args:
        target_us: Latency to aim for.
        met: The exponent w where the latency is at most the target.
        missed: The exponent w where it is more.
    """

    target_us: float
    met: float = -0.07
    missed: float = -0.07

    def __call__(self, accuracy: float, latency_us: float) -> float:
        """Computes the reward.

        Args:
            accuracy: Accuracy, 0 to 1.
            latency_us: Latency.
        """
        exponent = self.met if latency_us <= self.target_us else self.missed
        return accuracy * (latency_us / self.target_us) ** exponent


def make_reward(target_us: float, exponent: str | float = 'large') -> Reward:
    """Builds a reward.

    Args:
        target_us: Latency to aim for.
        exponent: A name of :data:`EXPONENTS`, or w itself as a number of at most 0.

    Raises:
        UserError: For an exponent that is neither, or a target that is not positive.
    """
    if not 0 < target_us < float('inf'):
        raise UserError(f'a target latency of {target_us:g} µs must be positive')
    if exponent in EXPONENTS:
        return Reward(target_us, *EXPONENTS[exponent])
    try:
        w = float(exponent)
    except ValueError:
        w = float('nan')
    if not -10 <= w <= 0:
        raise UserError(
            f'the reward exponent {exponent!r} is impossible; possible: '
            f'{", ".join(EXPONENTS)}, or a number from -10 to 0'
        )
    return Reward(target_us, w, w)
