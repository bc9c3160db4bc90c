"""Foreign weights straight from a config."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmnv3.convert.conversion import Converted, to_ours
from mmnv3.convert.differences import list_differences
from mmnv3.convert.files import guess_project, is_foreign, read_state
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
            address that mmengine knows; also one of ours, as ``Pretrained`` loads it.
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
        wanted = backbone.state_dict()
        state, warnings = _of_backbone(given), []
        if is_foreign(given) or self.project or not any(key in state for key in wanted):
            converted = self._convert(given, backbone)
            state, network = _of_backbone(converted.state), str(converted.network)
            warnings = list_differences(
                converted.network.form, self.checkpoint, backbone
            )
        else:
            network = 'a network of mmnv3'
        if missing := [key for key in wanted if key not in state]:
            raise UserError(
                f'{self.checkpoint} holds {network}, which has no '
                f'{missing[0]}; set the backbone to that network'
            )
        other = [key for key in wanted if wanted[key].shape != state[key].shape]
        fitting = {key: state[key] for key in wanted if key not in other}
        if len(other) > len(wanted) / 2:
            raise UserError(
                f'{self.checkpoint} holds {network}; {len(other)} of '
                f'{len(wanted)} tensors are of another shape, the first {other[0]}; '
                'set the backbone to that network'
            )
        with torch.no_grad():
            backbone.load_state_dict(fitting, strict=False)
        if other:
            layers = sorted({key.split('.')[0] for key in other})
            warnings.append(
                f'{self.checkpoint}: {len(other)} tensors of {", ".join(layers)} are '
                'of another shape here and keep their initialisation'
            )
        for text in warnings:
            print_log(text, logger='current', level=logging.WARNING)
        print_log(f'loaded {network}', logger='current')

    def _convert(self, given: dict[str, Tensor], backbone: nn.Module) -> Converted:
        project = self.project or guess_project(self.checkpoint, given)
        try:
            return to_ours(given, project, spec=backbone.spec)
        except MisfitError as error:
            raise UserError(
                f'{self.checkpoint} is no network of {project} that is known: {error}'
            ) from None

    def _get_init_info(self) -> str:
        return f'{type(self).__name__}: load from {self.checkpoint}'


def _of_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors of a network of ours, or of a backbone alone."""
    prefix = 'backbone.'
    if any(key.startswith(prefix) for key in state):
        state = {key: value for key, value in state.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in state.items()}
