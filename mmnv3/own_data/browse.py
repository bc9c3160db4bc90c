"""Draws what the training pipeline of a config feeds its network."""

from __future__ import annotations

import random
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmnv3.deploy.drawing import distinct_colours
from mmnv3.engine.config import normalization, preprocessor, read_config
from mmnv3.errors import UserError
from mmnv3.files import check_output
from mmnv3.own_data.truth import draw_truth
from mmnv3.pictures import write_picture


def browse(config_path: str, out: Path, number: int = 16) -> list[Path]:
    """Draws training pictures as the network gets them.

    They are loaded, augmented and preprocessed as in training, and brought back from
    the network's numbers to colours; boxes, masks and classes are those that the loss
    is computed from.

    Args:
        config_path: The config.
        out: Folder for the pictures.
        number: How many; all in a small set. They are chosen at random, always the
            same.

    Returns:
        The files.

    Raises:
        UserError: When the config has no training data, or when they cannot be loaded.
    """
    config = read_config(config_path)
    check_output('--out', out, [config_path], folder=True)
    if 'train_dataloader' not in config:
        raise UserError(f'{config_path} has no train_dataloader, so nothing to draw')
    scope = config.get('default_scope', 'mmdet')
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        with redirect_stdout(None):  # COCO's reader prints.
            dataset = DATASETS.build(config.train_dataloader.dataset)
        prepare = MODELS.build(preprocessor(config))
        chosen = random.sample(range(len(dataset)), min(number, len(dataset)))
        return [
            _draw(config, dataset, prepare, index, out, place)
            for place, index in enumerate(chosen)
        ]


def _draw(
    config: Config, dataset: Any, prepare: Any, index: int, out: Path, place: int
) -> Path:
    batch = prepare(pseudo_collate([dataset[index]]), training=True)
    sample = batch['data_samples'][0]
    rgb = _to_colours(batch['inputs'][0], config)
    classes = tuple(dataset.metainfo.get('classes') or ())
    if not classes:
        raise UserError(
            f'{config.filename}: its training data name no classes; set '
            'train_dataloader.dataset.metainfo.classes'
        )
    palette = dataset.metainfo.get('palette')
    if not isinstance(palette, (list, tuple)) or len(palette) != len(classes):
        palette = distinct_colours(len(classes))
    labels, boxes, mask = np.zeros(0, int), None, None
    if 'gt_sem_seg' in sample:
        mask = sample.gt_sem_seg.data[0].numpy()
    elif 'gt_instances' in sample:
        found = sample.gt_instances.bboxes
        boxes = getattr(found, 'tensor', found).numpy()
        labels = sample.gt_instances.labels.numpy()
    else:
        labels = sample.gt_label.numpy()
    drawn = draw_truth(rgb, labels, classes, palette, boxes, mask)
    path = out / f'{place:03d}_{Path(sample.img_path).stem}.png'
    write_picture(path, drawn[..., ::-1])
    return path


def _to_colours(inputs: torch.Tensor, config: Config) -> np.ndarray:
    """From a network's input, (3, H, W), to (H, W, 3) uint8, RGB."""
    given = normalization(config)
    mean, std = (np.array(each).reshape(3, 1, 1) for each in (given.mean, given.std))
    pixels = inputs.float().numpy() * std + mean
    if given.channel_order == 'bgr':
        pixels = pixels[::-1]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8).transpose(1, 2, 0)
