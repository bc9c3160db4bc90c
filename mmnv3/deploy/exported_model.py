"""An exported file in place of a config's model, for testing by mmengine's Runner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor
from torch.nn import functional as F

from mmnv3.deploy.info import CLASSIFICATION, DETECTION, SEGMENTATION, ModelInfo
from mmnv3.deploy.results import finish
from mmnv3.deploy.runtime import load_runtime
from mmnv3.deploy.sources import FILE_BACKENDS
from mmnv3.engine.config import (
    config_head,
    config_task,
    normalization,
    preprocessor,
)
from mmnv3.errors import UserError
from mmnv3.registry import MODELS


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Predicts as the toolbox's own model would, by a file of ``tools/export.py``.

    Args:
        file: The exported file.
        data_preprocessor: The config's.
        align_corners: How a segmenter's logits are brought to the picture's size.
        threads: Threads of one call; the runtime's own number for None.

    Raises:
        UserError: When the file cannot be read.
    """

    def __init__(
        self,
        file: str,
        data_preprocessor: dict | None = None,
        align_corners: bool = False,
        threads: int | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.file = file
        self.align_corners = align_corners
        self.runtime = load_runtime(file, threads)

    @property
    def info(self) -> ModelInfo:
        """What the file says about its model."""
        return self.runtime.info

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement],
        mode: str = 'predict',
    ) -> list[BaseDataElement]:
        """Adds predictions to the samples of a batch.

        Args:
            inputs: Normalised pictures, (N, 3, H, W).
            data_samples: As many.
            mode: ``'predict'``; a file does nothing else.

        Returns:
            The samples with ``pred_instances``, with ``pred_sem_seg`` and, where the
            file gives them, ``seg_logits``, or with ``pred_score`` and ``pred_label``.

        Raises:
            UserError: When the pictures do not have the file's size.
        """
        if mode != 'predict':
            raise UserError(f'{self.file} is exported and only predicts; got {mode!r}')
        size = inputs.shape[3], inputs.shape[2]
        if size != self.info.size:
            raise UserError(
                f'the config feeds pictures of {_text(size)} and {self.file} takes '
                f'{_text(self.info.size)}; export it with --size {size[0]} {size[1]}'
            )
        add = {DETECTION: self._add_boxes, SEGMENTATION: self._add_mask}.get(
            self.info.task, self._add_class
        )
        pictures = inputs.cpu().numpy()
        for start in range(0, len(pictures), self.info.batch):
            samples = data_samples[start : start + self.info.batch]
            batch = np.zeros(self.info.input_shape, np.float32)
            batch[: len(samples)] = pictures[start : start + len(samples)]
            outputs = self.runtime(batch)
            for index, sample in enumerate(samples):
                add(sample, {key: value[index] for key, value in outputs.items()})
        return data_samples

    def _add_boxes(
        self, sample: BaseDataElement, outputs: dict[str, np.ndarray]
    ) -> None:
        batch = {key: value[None] for key, value in outputs.items()}
        found = finish(batch, self.info, [self.info.size])[0]
        boxes = torch.from_numpy(found.boxes)
        scale = boxes.new_tensor(sample.metainfo['scale_factor']).repeat(2)
        sample.pred_instances = InstanceData(
            bboxes=boxes / scale,
            scores=torch.from_numpy(found.scores),
            labels=torch.from_numpy(found.labels),
        )

    def _add_mask(
        self, sample: BaseDataElement, outputs: dict[str, np.ndarray]
    ) -> None:
        shape = sample.metainfo['ori_shape']
        if self.info.postprocessed:
            mask = torch.from_numpy(outputs['mask'])[None].float()
            # Of what is stretched only the class is left.
            mask = F.interpolate(mask[None], shape, mode='nearest')[0].long()
        else:
            logits = torch.from_numpy(outputs['logits'])[None]
            if logits.shape[2:] != shape:
                logits = F.interpolate(
                    logits, shape, mode='bilinear', align_corners=self.align_corners
                )
            mask = logits.argmax(1)
            sample.seg_logits = PixelData(data=logits[0])
        sample.pred_sem_seg = PixelData(data=mask)

    def _add_class(
        self, sample: BaseDataElement, outputs: dict[str, np.ndarray]
    ) -> None:
        if self.info.postprocessed:
            scores = torch.from_numpy(outputs['scores'])
        else:
            scores = torch.from_numpy(outputs['logits']).softmax(0)
        sample.set_pred_score(scores).set_pred_label(scores.argmax(0, keepdim=True))


def is_exported(path: str) -> bool:
    """Whether a file is named as exported ones are."""
    return Path(path).suffix in FILE_BACKENDS


def set_exported(config: Config, file: str) -> None:
    """Puts an exported file in the place of a config's model.

    Args:
        config: The config; what it says of data and metrics stays.
        file: The exported file.

    Raises:
        UserError: When the file is not for the config's task, classes or numbers.
    """
    task, head = config_task(config), config_head(config)
    info = load_runtime(file).info
    if info.task != task:
        raise UserError(
            f'{file} is for {info.task} and {config.filename} for {task}; give both '
            'the same task'
        )
    count = head.get('num_classes', len(info.classes))
    if count != len(info.classes):
        raise UserError(
            f'{file} has {len(info.classes)} classes and {config.filename} {count}; '
            'use the config that it was exported from'
        )
    given = preprocessor(config)
    if task == CLASSIFICATION:
        # mmpretrain's classifier gives it its type.
        given = {'type': 'ClsDataPreprocessor', **given}
    own = normalization(config)
    for name, theirs, ours in (
        ('mean', info.mean, own.mean),
        ('std', info.std, own.std),
        ('channel order', info.channel_order, own.channel_order),
    ):
        if theirs != ours:
            raise UserError(
                f'{file} takes pictures with the {name} {theirs} and '
                f'{config.filename} has {ours}; use the config that it was exported '
                'from'
            )
    config.model = dict(
        type='mmnv3.ExportedModel',
        file=file,
        data_preprocessor=given,
        align_corners=head.get('align_corners', True),
    )
    config.load_from, config.resume = None, False
    # It averages weights, which the file has done with.
    config.custom_hooks = [
        hook for hook in config.get('custom_hooks', []) if hook['type'] != 'EMAHook'
    ]


def _text(size: tuple[int, int]) -> str:
    return f'{size[0]}x{size[1]}'
