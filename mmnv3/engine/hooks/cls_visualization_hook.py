"""Draws the pictures that a classifier is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmcv
from mmengine.fileio import get, join_path
from mmpretrain.engine import VisualizationHook
from mmpretrain.structures import DataSample

from mmnv3.registry import HOOKS


@HOOKS.register_module()
class ClsVisualizationHook(VisualizationHook):
    """mmpretrain's hook, on whole pictures in their own colours.

    mmpretrain 1.2.0 draws the network's input, which is BGR and cropped, as if it were
    an RGB picture. This one reads the files, as mmdet's and mmseg's hooks do.

    Args:
        **kwargs: Those of ``VisualizationHook``.
    """

    def _draw_samples(
        self,
        batch_idx: int,
        data_batch: dict,
        data_samples: Sequence[DataSample],
        step: int = 0,
    ) -> None:
        if not self.enable:
            return
        first = len(data_samples) * batch_idx
        for index, data_sample in enumerate(data_samples, first):
            if index % self.interval:
                continue
            picture = mmcv.imfrombytes(get(data_sample.img_path), channel_order='rgb')
            # Folders of classes may repeat the names of files.
            name = '_'.join(Path(data_sample.img_path).parts[-2:])
            draw_args = self.draw_args
            if self.out_dir is not None:
                out_file = join_path(self.out_dir, f'{name}_{step}.png')
                draw_args = {**draw_args, 'out_file': out_file}
            self._visualizer.visualize_cls(
                image=picture,
                data_sample=data_sample,
                step=step,
                name=name,
                **draw_args,
            )
