"""What a study is, and the networks that it times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.deploy.graph import PlainGraph
from studies.paper.networks import Classifier, Network


class NaiveHSwish(nn.Module):
    """x · ReLU6(x + 3) / 6 as four operations: addition, clipping, product, quotient.

    ``nn.Hardswish`` computes the same in one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to itself."""
        return x * F.relu6(x + 3) / 6


def write_naively(module: nn.Module) -> nn.Module:
    """Puts :class:`NaiveHSwish` in the place of every ``nn.Hardswish``.

    Args:
        module: A network, which is changed.

    Returns:
        The network.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Hardswish):
                setattr(parent, name, NaiveHSwish())
    return module


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
            if isinstance(layer, nn.Conv2d):
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


@dataclass(frozen=True)
class Entry:
    """A network of a study.

    Args:
        labels: What the first columns say.
        variant: What is timed.
        accuracy: As printed, in percent; None where nothing is.
        printed: Milliseconds as printed, by column; None where nothing is.
    """

    labels: tuple[str, ...]
    variant: Variant
    accuracy: float | None = None
    printed: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """Two networks of a study, of which one is to be faster.

    Args:
        text: What is set against what.
        new: Labels of the one.
        old: Labels of the other.
    """

    text: str
    new: tuple[str, ...]
    old: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Networks that are timed together.

    Args:
        key: What the tool calls it.
        title: What it is about.
        about: What to know before reading it.
        labels: Headers of the first columns.
        accuracy: What the printed accuracy is; empty for none.
        columns: Headers of the printed latencies, in milliseconds. Ranks are compared
            with the first.
        entries: The networks; the others are set in proportion to the first.
        contrasts: Those that are set against each other.
        family: Tells a plot the line that an entry's labels belong to, and the name of
            its point.
        share: Of the runs that are asked for; large pictures get fewer.
        apart: Whether backends follow one another in place of taking turns, since not
            all fit into memory.
    """

    key: str
    title: str
    about: str
    labels: tuple[str, ...]
    accuracy: str
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]
    contrasts: tuple[Contrast, ...]
    family: Callable[[tuple[str, ...]], tuple[str, str]]
    share: float = 1.0
    apart: bool = False
