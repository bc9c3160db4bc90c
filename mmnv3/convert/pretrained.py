"""Foreign weights straight from a config."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from torch import nn

from mmnv3.convert.conversion import to_ours
from mmnv3.convert.differences import list_differences
from mmnv3.convert.files import guess_project, read_state
from mmnv3.convert.recognition import MisfitError
from mmnv3.errors import UserError
from mmnv3.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class ForeignPretrained:
    """Initialises a backbone from another project's checkpoint.

    In a config: ``backbone=dict(type='mmnv3.MobileNetV3', init_cfg=dict(
    type='mmnv3.ForeignPretrained', checkpoint='torchvision://mobilenet_v3_large'))``.

    The file may hold a longer network than the backbone builds (what follows the last
    tap is left out) and one whose tail is not halved (layers of another shape keep
    their initialisation, with a warning that names them).

    Args:
        checkpoint: A file of torchvision, timm, mmpretrain, mmseg or LiteRT, or an
            address that mmengine knows.
        project: Which of them; guessed by default.
    """

    def __init__(self, checkpoint: str, project: str | None = None) -> None:
        self.checkpoint = checkpoint
        self.project = project

    def __call__(self, backbone: nn.Module) -> None:
        """Loads the weights.

        Raises:
            UserError: When the file holds no network that is known, or another one.
        """
        given = read_state(self.checkpoint)
        project = self.project or guess_project(self.checkpoint, given)
        try:
            converted = to_ours(given, project, spec=backbone.spec)
        except MisfitError as error:
            raise UserError(
                f'{self.checkpoint} is no network of {project} that is known: {error}'
            ) from None
        state = {
            key.removeprefix('backbone.'): value
            for key, value in converted.state.items()
            if key.startswith('backbone.')
        }
        wanted = backbone.state_dict()
        if missing := [key for key in wanted if key not in state]:
            raise UserError(
                f'{self.checkpoint} holds {converted.network}, which has no '
                f'{missing[0]}; set the backbone to that network'
            )
        other = [key for key in wanted if wanted[key].shape != state[key].shape]
        fitting = {key: state[key] for key in wanted if key not in other}
        if len(other) > len(wanted) / 2:
            raise UserError(
                f'{self.checkpoint} holds {converted.network}; {len(other)} of '
                f'{len(wanted)} tensors are of another shape, the first {other[0]}; '
                'set the backbone to that network'
            )
        with torch.no_grad():
            backbone.load_state_dict(fitting, strict=False)
        warnings = list_differences(converted.network.form, self.checkpoint, backbone)
        if other:
            layers = sorted({key.split('.')[0] for key in other})
            warnings.append(
                f'{self.checkpoint}: {len(other)} tensors of {", ".join(layers)} are '
                'of another shape here and keep their initialisation'
            )
        for text in warnings:
            print_log(text, logger='current', level=logging.WARNING)
        print_log(f'loaded {converted.network}', logger='current')

    def _get_init_info(self) -> str:
        return f'{type(self).__name__}: load from {self.checkpoint}'
