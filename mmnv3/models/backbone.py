"""One backbone for every network that :mod:`mmnv3.arch` can describe."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmnv3.arch import (
    NetSpec,
    Network,
    Tap,
    choose_taps,
    get_spec,
    list_layers,
    list_taps,
)
from mmnv3.errors import UserError
from mmnv3.models.layers import Bottleneck, build_layer, check_norm
from mmnv3.registry import MODELS


@MODELS.register_module()
class MobileNetV3(BaseModule):
    """MobileNetV3 and the networks that its paper compares, built from a table.

    Args:
        arch: A name of :data:`mmnv3.arch.ZOO` (``'large'``, ``'small'``, ``'v2'``, …),
            the path of a ``.json`` specification, or a specification.
        width: Width multiplier.
        tail: ``'detection'`` or ``'segmentation'`` for the halved last stage of that
            task, None for the classifier's.
        gate: Of every squeeze-and-excite: ``'hsigmoid'``, ``'sigmoid'``, or
            ``'hsigmoid_tf'`` for weights that TensorFlow trained; None leaves the
            network's own (:class:`mmnv3.arch.spec.SqueezeExcite`).
        output_stride: 32, 16 or 8: beyond it blocks are dilated instead of strided.
        dilation: ``'tensorflow'`` as the paper, or ``'torchvision'``, where the block
            that loses its stride is itself dilated; see :func:`mmnv3.arch.plan_blocks`.
        out_taps: Names of the feature maps to return, in this order: ``'block4'``,
            ``'block13.expand'``, ``'block6.depthwise'``, ``'C4'``, ``'C5'``, ``'last'``
            (see :mod:`mmnv3.arch.taps`). Layers beyond the deepest are not built.
            The default is ``('C5',)``, the last feature map.
        out_indices: The same as numbers, as elsewhere in OpenMMLab: 0 is the stem,
            n the output of block n, one more the last 1×1. Excludes ``out_taps``.
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'`` as PyTorch does.
        frozen_stages: Freezes the layers up to this index (counted as in
            ``out_indices``): no gradients, normalisation in eval mode. -1 for none.
        norm_cfg: Normalisation. Detection wants ``momentum=0.03``.
        norm_eval: Keeps all batch normalisation in eval mode while training.
        with_cp: Recomputes blocks in the backward pass to save memory.
        init_cfg: Initialisation; by default as torchvision's: Kaiming fan-out.

    Raises:
        UserError: For anything the network cannot do; says what it can.
    """

    def __init__(
        self,
        arch: str | os.PathLike[str] | NetSpec = 'large',
        width: float = 1.0,
        tail: str | None = None,
        gate: str | None = None,
        output_stride: int = 32,
        dilation: str = 'tensorflow',
        out_taps: Sequence[str] | None = None,
        out_indices: Sequence[int] | None = None,
        padding: str = 'same',
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
                dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1),
            ]
        )
        self.network = Network(
            get_spec(arch, width, tail, gate), output_stride, dilation, padding
        )
        self.taps: tuple[Tap, ...] = choose_taps(self.network, out_taps, out_indices)
        self.norm_eval = norm_eval
        self.with_cp = with_cp

        order = list(list_taps(self.spec, output_stride))
        deepest = max(self.taps, key=lambda tap: order.index(tap.name))
        stages = self.network.stages
        self.layers = stages[: stages.index(deepest.layer) + 1]
        possible = range(-1, len(self.layers))
        if type(frozen_stages) is not int or frozen_stages not in possible:
            raise UserError(
                f'frozen_stages={frozen_stages!r} is impossible; possible: -1 to '
                f'{len(self.layers) - 1} ({self.layers[-1]!r})'
            )
        self.frozen_stages = frozen_stages

        norm_cfg = norm_cfg or dict(type='BN', eps=1e-3, momentum=0.01)
        check_norm(norm_cfg)
        plans = {plan.name: plan for plan in self.network.plans()}
        convs = {layer.name: layer for layer in list_layers(self.network)}
        for name in self.layers:
            until = deepest.part if name == deepest.layer else 'out'
            self.add_module(
                name,
                Bottleneck(plans[name], norm_cfg, padding, until)
                if name in plans
                else build_layer(convs[name], norm_cfg),
            )
        self._freeze()

    @property
    def spec(self) -> NetSpec:
        """The network's table, tail and width applied."""
        return self.network.spec

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the returned feature maps."""
        return tuple(tap.channels for tap in self.taps)

    @property
    def out_reductions(self) -> tuple[int, ...]:
        """How many times smaller than the image the returned feature maps are."""
        return tuple(tap.reduction for tap in self.taps)

    @property
    def out_indices(self) -> tuple[int, ...]:
        """Indices of the layers that the feature maps are of, which mmpretrain reads.

        A tap inside a block has the index of its block.
        """
        return tuple(self.layers.index(tap.layer) for tap in self.taps)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Computes the tapped feature maps.

        Args:
            x: Images, (N, 3, H, W).

        Returns:
            One tensor per tap, in the order asked for, (N, out_channels[i],
            ⌈H / out_reductions[i]⌉, ⌈W / out_reductions[i]⌉).
        """
        if x.device.type == 'cpu':
            # Layers keep the layout of their input, and oneDNN runs these networks
            # twice as fast on channels-last, training and inference alike.
            x = x.contiguous(memory_format=torch.channels_last)
        tapped = {(tap.layer, tap.part) for tap in self.taps}
        found: dict[tuple[str, str], Tensor] = {}
        for name in self.layers:
            layer = self._modules[name]
            recompute = self.with_cp and self.training
            if any((name, part) in tapped for part in ('expand', 'depthwise')):
                parts = (
                    checkpoint(layer.taps, x, use_reentrant=False)
                    if recompute
                    else layer.taps(x)
                )
                found.update({(name, part): out for part, out in parts.items()})
                x = parts[layer.until]
            else:
                x = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
                found[name, 'out'] = x
        return tuple(found[tap.layer, tap.part] for tap in self.taps)

    def _freeze(self) -> None:
        for name in self.layers[: self.frozen_stages + 1]:
            layer = self._modules[name].eval()
            for parameter in layer.parameters():
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> MobileNetV3:
        """Sets the mode; frozen layers, and BN under ``norm_eval``, stay in eval."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
