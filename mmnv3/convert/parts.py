"""The layers of a model that carry weights, and what two projects call them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mmnv3.arch import NetSpec, plan_blocks

_NORM = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


@dataclass(frozen=True)
class Part:
    """A convolution or linear layer, with its normalisation if it has one.

    Args:
        ours: Its name here, as ``'backbone.block3.expand'``. With normalisation the
            two are its ``conv`` and ``bn``.
        conv: The foreign name of the convolution.
        norm: The foreign name of its normalisation; None for a layer with bias.
        bias: Whether a foreign layer without normalisation has a bias; where it has
            none, ours is zero.
        folded: Whether the foreign layer's bias is all that is left of a normalisation
            that ours has.
    """

    ours: str
    conv: str
    norm: str | None = None
    bias: bool = True
    folded: bool = False

    def keys(self) -> Iterator[tuple[str, str]]:
        """Pairs of our and the foreign key of every tensor."""
        if self.norm:
            yield f'{self.ours}.conv.weight', f'{self.conv}.weight'
            for name in _NORM:
                yield f'{self.ours}.bn.{name}', f'{self.norm}.{name}'
        elif self.folded:
            yield f'{self.ours}.conv.weight', f'{self.conv}.weight'
            yield f'{self.ours}.bn.bias', f'{self.conv}.bias'
        else:
            yield f'{self.ours}.weight', f'{self.conv}.weight'
            if self.bias:
                yield f'{self.ours}.bias', f'{self.conv}.bias'


def list_layers(spec: NetSpec) -> list[tuple[str, tuple[str, ...]]]:
    """The stages of a backbone and the layers in each, in the order of computation.

    Returns:
        ``('stem', ('',))``, ``('block1', ('depthwise', 'se.reduce', 'se.expand',
        'project'))`` and so on, ``('last', ('',))`` where there is one.
    """
    stages: list[tuple[str, tuple[str, ...]]] = [('stem', ('',))]
    for plan in plan_blocks(spec):
        layers = ['expand'] if plan.has_expand else []
        layers += [] if plan.spec.fused else ['depthwise']
        layers += ['se.reduce', 'se.expand'] if plan.se_hidden else []
        stages.append((plan.name, (*layers, 'project')))
    return [*stages, ('last', ('',))] if spec.last else stages
