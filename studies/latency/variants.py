"""What is exported and timed: networks, and the forms that the studies set apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.arch import ZOO, ConvSpec, NetSpec, SqueezeExcite
from mmnv3.deploy.graph import PlainGraph
from studies.networks import Classifier, Network, use_hswish_from


class NaiveHSwish(nn.Module):
    """x · ReLU6(x + 3) / 6 as four operations: addition, clipping, product, quotient.

    ``nn.Hardswish`` computes the same in one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to itself."""
        return x * F.relu6(x + 3) / 6


def write_naively(module: nn.Module) -> None:
    """Puts :class:`NaiveHSwish` in the place of every ``nn.Hardswish`` of a network."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Hardswish):
                setattr(parent, name, NaiveHSwish())


@dataclass(frozen=True)
class Variant:
    """A network, in the form in which it is timed.

    Args:
        network: A row's network.
        naive: h-swish in operations of their own.
        precision: ``'fp32'`` or ``'int8'``.
    """

    network: Network
    naive: bool = False
    precision: str = 'fp32'

    def build(self) -> PlainGraph:
        """The network for one picture, with the same random weights at every call."""
        torch.manual_seed(0)
        module = self.network.build()
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                # Keeps the size of what comes in, layer after layer. PyTorch's own
                # lets it vanish, and quantisers find ranges that no network has.
                nn.init.kaiming_normal_(layer.weight)
        if self.naive:
            write_naively(module)
        width, height = self.network.size
        return PlainGraph(module, (1, 3, height, width))

    def digest(self, versions: str = '') -> str:
        """Names its files: other networks, forms and versions have other names.

        Args:
            versions: Of the packages that write the files.
        """
        what = self.network
        if isinstance(what, Classifier):
            # Tables reach one network by several ways.
            what = replace(what.spec(), name=''), what.size
        text = repr((what, self.naive, self.precision, versions))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# Figure 9: the way from MnasNet-A1 to MobileNetV3-Large, as edits of a specification.
# The paper's text gives neither names, nor an order, nor figures of these steps. What
# each of them changes is what its Sections 4 and 5 describe; the order is ours.

_END = ZOO['large']
# Where the second half begins: blocks with so many output channels use h-swish.
_HSWISH_FROM = 80


@dataclass(frozen=True)
class Step:
    """A step of Figure 9.

    Args:
        name: What is new.
        section: Where the paper describes it.
        edit: Makes the specification out of that of the step before.
    """

    name: str
    section: str
    edit: Callable[[NetSpec], NetSpec]


def _shorten_end(spec: NetSpec) -> NetSpec:
    """The last block's expansion becomes the last layer before pooling.

    Its depthwise convolution and its projection go, and the 1280 channels come after
    pooling, where they cost one pixel.
    """
    return replace(
        spec,
        blocks=spec.blocks[:-1],
        last=ConvSpec(spec.blocks[-1].expand, act='relu'),
        head=ConvSpec(spec.last.out, act='relu', scaled='never'),
    )


def _thin_stem(spec: NetSpec) -> NetSpec:
    """16 filters with h-swish; the first block, which does not expand, follows."""
    first = replace(spec.blocks[0], expand=_END.stem.out)
    return replace(spec, stem=_END.stem, blocks=(first, *spec.blocks[1:]))


def _adapt_widths(spec: NetSpec) -> NetSpec:
    """The widths that the paper prints for the outcome, as NetAdapt left them."""
    blocks = (
        replace(block, expand=end.expand, out=end.out)
        for block, end in zip(spec.blocks, _END.blocks, strict=True)
    )
    return replace(spec, blocks=tuple(blocks))


def _use_hswish(spec: NetSpec) -> NetSpec:
    return replace(
        use_hswish_from(spec, _HSWISH_FROM),
        last=replace(spec.last, act='hswish'),
        head=replace(spec.head, act='hswish'),
    )


def _enlarge_se(spec: NetSpec) -> NetSpec:
    """A quarter of the expansion, in place of the input, and the hard sigmoid."""
    blocks = (replace(block, se=block.se and SqueezeExcite()) for block in spec.blocks)
    return replace(spec, blocks=tuple(blocks))


STEPS = (
    Step('MnasNet-A1', '4.1', lambda spec: spec),
    Step('efficient last stage', '5.1', _shorten_end),
    Step('stem of 16 filters with h-swish', '5.1', _thin_stem),
    Step("NetAdapt's widths", '4.2', _adapt_widths),
    Step('h-swish in the second half', '5.2', _use_hswish),
    Step('large squeeze-and-excite, hard sigmoid: V3-Large', '5.3', _enlarge_se),
)


def step_networks() -> list[Classifier]:
    """The network of every step, from MnasNet-A1 to MobileNetV3-Large."""
    specs = [ZOO['mnasnet_a1']]
    for number, step in enumerate(STEPS):
        specs.append(replace(step.edit(specs[-1]), name=f'figure9_{number}'))
    return [Classifier(spec) for spec in specs[1:]]
