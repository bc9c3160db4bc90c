"""What predicts in place of a config's model when mmengine's Runner tests it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmdet.models.utils import samplelist_boxtype2tensor
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from mmnv3.deploy.info import TOP, ModelInfo
from mmnv3.deploy.pipeline import Pipeline
from mmnv3.deploy.results import (
    Detections,
    Segmentation,
    class_scores,
    picture_logits,
)
from mmnv3.deploy.runtime import file_format, load_runtime
from mmnv3.deploy.sources import open_source
from mmnv3.engine.config import config_head, config_task, keep_pictures
from mmnv3.errors import UserError
from mmnv3.registry import MODELS
from mmnv3.resizing import picture_size
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Predicts as the toolbox's own model would, by a runtime.

    The toolbox loads the pictures, and the rest is the :class:`Pipeline`'s.

    Args:
        file: An exported file, or a config, whose model starts with the first picture.
        keeps_size: Whether the config tests pictures at their own size, so that none
            may be stretched to the file's.
        align_corners: How a segmenter's logits are brought to the picture's size, for
            files of 0.1, which do not say so.
        threads: Threads of one call; the runtime's own number for None.
        **settings: See :func:`mmnv3.deploy.sources.open_source`.

    Raises:
        UserError: When the file cannot be read.
    """

    def __init__(
        self,
        file: str,
        keeps_size: bool = False,
        align_corners: bool = False,
        threads: int | None = None,
        **settings: Any,
    ) -> None:
        # Its preprocessor leaves pixels alone.
        super().__init__()
        self.file = file
        self.keeps_size = keeps_size
        self._align_corners, self._threads = align_corners, threads
        self._source = open_source(file, **settings)
        self._pipeline: Pipeline | None = None
        if not self._source.wants_size:
            self._start(None)

    @property
    def info(self) -> ModelInfo:
        """What the file says about its model; known once it started."""
        return self.pipeline.info

    @property
    def pipeline(self) -> Pipeline:
        """From pictures to results; there once it started."""
        assert self._pipeline is not None
        return self._pipeline

    def _start(self, picture: Size | None) -> None:
        runtime = self._source.start(self._threads, picture)
        if runtime.info.task == SEGMENTATION and runtime.info.align_corners is None:
            runtime.info = replace(runtime.info, align_corners=self._align_corners)
        self._pipeline = Pipeline(runtime, self._source.keeps_size)

    def forward(
        self,
        inputs: Sequence[Tensor],
        data_samples: list[BaseDataElement],
        mode: str = 'predict',
    ) -> list[BaseDataElement]:
        """Adds predictions to the samples of a batch.

        Args:
            inputs: Pictures as they are loaded, (3, H, W) uint8 BGR.
            data_samples: As many.
            mode: ``'predict'``; a file does nothing else.

        Returns:
            The samples with ``pred_instances``, with ``pred_sem_seg`` and, where the
            file gives them, ``seg_logits``, or with ``pred_score`` and ``pred_label``.

        Raises:
            UserError: When a picture cannot have the file's size.
        """
        if mode != 'predict':
            raise UserError(f'{self.file} is exported and only predicts; got {mode!r}')
        if self._pipeline is None:
            height, width = inputs[0].shape[-2:]
            self._start(Size(width, height))
        if self.info.task == DETECTION:
            # As mmdet's preprocessor leaves them to the metrics.
            samplelist_boxtype2tensor(data_samples)
        for start in range(0, len(inputs), self.info.batch):
            places = slice(start, start + self.info.batch)
            pictures = [
                np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy())
                for picture in inputs[places]
            ]
            sizes = [picture_size(picture) for picture in pictures]
            for size in sizes:
                self._check_size(size)
            outputs = self.pipeline.run(self.pipeline.prepare(*pictures))
            self._add(data_samples[places], outputs, sizes)
        return data_samples

    def _check_size(self, size: Size) -> None:
        if self._source.keeps_size:
            return
        if self.keeps_size and self.info.is_stretched(size):
            raise UserError(
                f'the config tests pictures at their own size, here {size}, and '
                f'{self.file} takes {self.info.size}; export it with '
                f'--size {size.width} {size.height}'
            )

    def _add(
        self,
        samples: Sequence[BaseDataElement],
        outputs: dict[str, np.ndarray],
        sizes: Sequence[Size],
    ) -> None:
        """Adds what the outputs of a batch say about its pictures."""
        if self.info.task == CLASSIFICATION:
            # Metrics want every class, not the best.
            for sample, scores in zip(samples, class_scores(outputs, self.info)):
                sample.set_pred_score(scores)
                sample.set_pred_label(scores.argmax(0, keepdim=True))
            return
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


def set_exported(config: Config, file: str, precision: str | None = None) -> None:
    """Puts an exported file in the place of a config's model.

    Args:
        config: The config; what it says of data and metrics stays, and the file's own
            steps replace those that resize, crop or pad its pictures.
        file: The exported file.
        precision: What it computes in; see
            :func:`mmnv3.deploy.sources.open_source`.

    Raises:
        UserError: When the file is not for the config's task or classes, or when
            it is not known what a step of the config does to a picture.
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
    if info.takes_pictures and task == CLASSIFICATION:
        _check_ranks(config, file)
    _set_model(
        config,
        file=file,
        precision=precision,
        align_corners=head.get('align_corners', True),
    )


def _check_ranks(config: Config, file: str) -> None:
    """Checks that no metric asks for more classes than a file names of a picture.

    Raises:
        UserError: When one does.
    """
    given = config.test_evaluator
    for metric in given if isinstance(given, (list, tuple)) else [given]:
        ranks = metric.get('topk', 1)
        most = max(ranks) if isinstance(ranks, (list, tuple)) else ranks
        if most > TOP:
            raise UserError(
                f'{file} names the {TOP} best classes and test_evaluator.topk={ranks} '
                'asks for more; export it without preprocessing'
            )


def set_runtime(config: Config, **settings: Any) -> None:
    """Lets a backend run a config's model, exported where it has to be.

    Args:
        config: The config; what it says of data and metrics stays.
        **settings: Checkpoint, backend, precision, calibration and options; see
            :func:`mmnv3.deploy.sources.open_source`.

    Raises:
        UserError: When it is not known what a step of the config does to a picture.
    """
    _set_model(config, file=config.filename, **settings)


def _set_model(config: Config, **settings: Any) -> None:
    """Puts an :class:`ExportedModel` in the place of a config's model."""
    config.model = dict(
        type='mmnv3.ExportedModel', keeps_size=not keep_pictures(config), **settings
    )
    # It would normalise, and pictures of several sizes make no tensor.
    config.pop('data_preprocessor', None)
    config.test_dataloader.pop('collate_fn', None)
    config.load_from, config.resume = None, False
    # It averages weights, which the file has done with.
    config.custom_hooks = [
        hook for hook in config.get('custom_hooks', []) if hook['type'] != 'EMAHook'
    ]
