"""What is exported and timed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import nn

from mmnv3.deploy.graph import PlainGraph
from studies.latency.naive import write_naively
from studies.networks import Classifier, Network


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
