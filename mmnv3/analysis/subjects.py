"""The models that are measured, from configs and from torchvision."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from mmnv3.analysis.latency import Stages
from mmnv3.engine import building
from mmnv3.errors import UserError

NETWORK, POST = 'network', 'post-processing'


def build_model(
    name: str, options: dict | None = None, checkpoint: str | None = None
) -> nn.Module:
    """Builds a model to measure, in eval mode.

    Args:
        name: The path of a config, or ``'torchvision:'`` and the name of one of its
            segmenters (with Cityscapes' 19 classes).
        options: Settings of the config to override.
        checkpoint: Weights; random ones without.

    Raises:
        UserError: When there is no such config, model or checkpoint, or when the
            checkpoint is another network's.
    """
    if name.startswith('torchvision:'):
        torch.manual_seed(0)
        return _build_torchvision(name.removeprefix('torchvision:')).eval()
    return building.build_model(name, options, checkpoint)


def _build_torchvision(name: str) -> nn.Module:
    possible = torchvision.models.list_models(torchvision.models.segmentation)
    if name not in possible:
        raise UserError(
            f'torchvision has no segmenter {name!r}; it has {", ".join(possible)}'
        )
    return torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=19
    )


def prepare(model: nn.Module, picture: np.ndarray) -> Tensor:
    """Normalises a picture, (H, W, 3) uint8 BGR, as the model wants: (1, 3, H, W)."""
    x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    if hasattr(model, 'data_preprocessor'):
        return model.data_preprocessor(dict(inputs=[x]))['inputs']
    return x[None].float() / 127.5 - 1


def find_stages(model: nn.Module, size: tuple[int, int]) -> Stages:
    """Divides a model into the network and what follows it.

    Args:
        model: A single-stage detector of mmdet (then come scores, decoding and
            suppression), an encoder-decoder of mmseg, or a segmenter of torchvision
            (then come resizing to the picture, and the best class).
        size: (H, W) of the pictures.

    Raises:
        UserError: For other models.
    """
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    if hasattr(model, 'bbox_head'):
        return {
            NETWORK: lambda x: model.bbox_head(model.extract_feat(x)),
            POST: lambda maps: model.bbox_head.predict_by_feat(
                *maps, batch_img_metas=[meta], rescale=True
            ),
        }
    if hasattr(model, 'decode_head'):
        return {
            NETWORK: lambda x: model.decode_head(model.extract_feat(x)),
            POST: lambda logits: model.postprocess_result(
                model.decode_head.predict_by_feat(logits, [meta])
            ),
        }
    if hasattr(model, 'backbone') and hasattr(model, 'classifier'):
        resize = partial(
            nn.functional.interpolate, size=size, mode='bilinear', align_corners=False
        )
        return {
            NETWORK: lambda x: model.classifier(model.backbone(x)),
            POST: lambda logits: resize(logits).argmax(1),
        }
    raise UserError(
        f'{type(model).__name__} is neither a single-stage detector nor a segmenter, '
        'the kinds that are measured so far'
    )
