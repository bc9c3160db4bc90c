"""An exported file in place of a config's model, for testing by mmengine's Runner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import Pipeline
from mmnv3.deploy.results import (
    Detections,
    Segmentation,
    class_scores,
    picture_logits,
)
from mmnv3.deploy.runtime import file_format, load_runtime
from mmnv3.engine.config import (
    config_head,
    config_task,
    normalization,
    picture_steps,
    preprocessor,
)
from mmnv3.errors import UserError
from mmnv3.registry import MODELS
from mmnv3.resizing import Resize
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, SEGMENTATION


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Predicts as the toolbox's own model would, by a file of ``tools/export.py``.

    The toolbox prepares the pictures, and the rest is the :class:`Pipeline`'s.

    Args:
        file: The exported file.
        data_preprocessor: The config's.
        align_corners: How a segmenter's logits are brought to the picture's size, for
            files of 0.1, which do not say so.
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
        runtime = load_runtime(file, threads)
        if runtime.info.task == SEGMENTATION and runtime.info.align_corners is None:
            runtime.info = replace(runtime.info, align_corners=align_corners)
        self.pipeline = Pipeline(runtime)

    @property
    def info(self) -> ModelInfo:
        """What the file says about its model."""
        return self.pipeline.info

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
        size = Size(inputs.shape[3], inputs.shape[2])
        if size != self.info.size:
            raise UserError(
                f'the config feeds pictures of {size} and {self.file} takes '
                f'{self.info.size}; export it with --size {size.width} {size.height}'
            )
        pictures = inputs.cpu().numpy()
        for start in range(0, len(pictures), self.info.batch):
            samples = data_samples[start : start + self.info.batch]
            batch = np.zeros(self.info.input_shape, np.float32)
            batch[: len(samples)] = pictures[start : start + len(samples)]
            self._add(samples, self.pipeline.run(batch))
        return data_samples

    def _add(
        self, samples: list[BaseDataElement], outputs: dict[str, np.ndarray]
    ) -> None:
        """Adds what the outputs of a batch say about its pictures."""
        if self.info.task == CLASSIFICATION:
            # Metrics want every class, not the best.
            for sample, scores in zip(samples, class_scores(outputs, self.info)):
                sample.set_pred_score(scores)
                sample.set_pred_label(scores.argmax(0, keepdim=True))
            return
        sizes = [Size(*sample.metainfo['ori_shape'][1::-1]) for sample in samples]
        results = self.pipeline.finish(outputs, sizes)
        for index, (sample, result) in enumerate(zip(samples, results)):
            if isinstance(result, Detections):
                sample.pred_instances = InstanceData(
                    bboxes=torch.from_numpy(result.boxes),
                    scores=torch.from_numpy(result.scores),
                    labels=torch.from_numpy(result.labels),
                )
            elif isinstance(result, Segmentation):
                mask = torch.from_numpy(result.mask)[None].long()
                sample.pred_sem_seg = PixelData(data=mask)
                if 'logits' in outputs:
                    logits = picture_logits(
                        outputs['logits'][index], self.info, sizes[index]
                    )
                    sample.seg_logits = PixelData(data=logits)


def is_exported(path: str) -> bool:
    """Whether a file is named as exported ones are."""
    return file_format(path) is not None


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
    steps = picture_steps(config, info.size)
    # A file without steps stretches, by cv2.
    stretched = (Resize(info.size),)
    if (info.steps or stretched) != (steps or stretched):
        raise UserError(
            f'{file} does not bring pictures to its size as {config.filename} does; '
            'export it from this config again'
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
