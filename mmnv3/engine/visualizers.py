"""Pictures of what a test found, by the toolboxes' visualizers.

They mend what cannot be read in upstream's pictures: covered labels, names over what
they name, and captions that end at the picture's edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.dist import master_only
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmnv3.legend import add_legend
from mmnv3.pictures import writable_name
from mmnv3.registry import VISUALIZERS


@VISUALIZERS.register_module()
class DetectionVisualizer(DetLocalVisualizer):
    """mmdet's visualizer, with the better detections in front of the worse.

    What cannot be written under the name of its picture (``.jfif``) gets ``.png``.
    """

    @master_only
    def add_datasample(
        self, *args: Any, out_file: str | None = None, **kwargs: Any
    ) -> None:
        """Draws a result and saves or shows it.

        Args:
            *args: Those of ``DetLocalVisualizer``.
            out_file: Where to write instead of the backends.
            **kwargs: Those of ``DetLocalVisualizer``.
        """
        name = None if out_file is None else str(writable_name(out_file))
        super().add_datasample(*args, out_file=name, **kwargs)

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        if 'scores' in instances:
            scores = torch.as_tensor(instances.scores)
            instances = instances[scores.argsort(stable=True).to('cpu')]
        return super()._draw_instances(image, instances, classes, palette)


@VISUALIZERS.register_module()
class LegendVisualizer(SegLocalVisualizer):
    """Truth left, prediction right, and below them the classes that occur.

    mmseg's own writes the names into the picture, over what they name.

    Args:
        *args: Those of ``SegLocalVisualizer``.
        **kwargs: Those of ``SegLocalVisualizer``, as ``alpha``.
    """

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: SegDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        with_labels: bool | None = True,
    ) -> None:
        """Draws a result and saves or shows it.

        Args:
            name: Of the picture.
            image: (H, W, 3) uint8, RGB.
            data_sample: With ``gt_sem_seg``, ``pred_sem_seg`` or both.
            draw_gt: Whether to draw the truth.
            draw_pred: Whether to draw the prediction.
            show: Whether to open a window.
            wait_time: Seconds that the window stays.
            out_file: Where to write instead of the backends.
            step: For the backends.
            with_labels: Whether to add the legend.
        """
        classes, palette = self.dataset_meta['classes'], self.dataset_meta['palette']
        maps = [
            # Tools of mmseg turn them into arrays.
            PixelData(data=torch.as_tensor(data_sample.get(key).data))
            for key, wanted in (('gt_sem_seg', draw_gt), ('pred_sem_seg', draw_pred))
            if wanted and data_sample is not None and key in data_sample
        ]
        drawn = [
            self._draw_sem_seg(image, labels, classes, palette, with_labels=False)
            for labels in maps
        ]
        picture = np.concatenate(drawn or [image], axis=1)
        if with_labels and maps:
            found = np.unique(
                np.concatenate([np.unique(labels.data.cpu()) for labels in maps])
            )
            entries = {
                classes[label]: palette[label]
                for label in found
                if label < len(classes)
            }
            picture = add_legend(picture, entries)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        self.set_image(picture)
        if out_file:
            mmcv.imwrite(mmcv.rgb2bgr(picture), str(writable_name(out_file)))
        else:
            self.add_image(Path(name).stem, picture, step)


_RIGHT, _WRONG, _TRUTH = (30, 150, 60), (210, 40, 40), (120, 120, 120)


@VISUALIZERS.register_module()
class CaptionVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer, with truth and prediction below the picture.

    A prediction is green where it is among the truths, and else red.
    """

    @master_only
    def visualize_cls(
        self,
        image: np.ndarray,
        data_sample: DataSample,
        classes: Sequence[str] | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        draw_score: bool = True,
        resize: int | None = None,
        rescale_factor: float | None = None,
        text_cfg: dict | None = None,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        name: str = '',
        step: int = 0,
    ) -> np.ndarray:
        """Draws a result and saves or shows it.

        Args:
            image: (H, W, 3) uint8, RGB.
            data_sample: With ``gt_label``, ``pred_label`` or both.
            classes: Names of the classes; by default those of the data set.
            draw_gt: Whether to name the truth.
            draw_pred: Whether to name the prediction.
            draw_score: Whether to say its probability.
            resize: Pixels that the short side gets first.
            rescale_factor: What the picture is enlarged by first.
            text_cfg: Of mmpretrain's; a legend has its own.
            show: Whether to open a window.
            wait_time: Seconds that the window stays.
            out_file: Where to write instead of the backends.
            name: Of the picture.
            step: For the backends.

        Returns:
            (height, width, 3) uint8, RGB.
        """
        if resize:
            rescale_factor = resize / min(image.shape[:2])
        if rescale_factor:
            image = mmcv.imrescale(image, rescale_factor)
        classes = classes or (self.dataset_meta or {}).get('classes')
        entries: dict[str, tuple[int, int, int]] = {}
        truths = _labels(data_sample, 'gt_label')
        for label in truths if draw_gt else ():
            entries[f'truth: {_class_name(label, classes)}'] = _TRUTH
        for label in _labels(data_sample, 'pred_label') if draw_pred else ():
            text = f'prediction: {_class_name(label, classes)}'
            if draw_score and 'pred_score' in data_sample:
                text += f', {float(data_sample.pred_score[label]):.2f}'
            entries[text] = _RIGHT if label in truths or not truths else _WRONG
        picture = add_legend(image, entries)
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(mmcv.rgb2bgr(picture), str(writable_name(out_file)))
        else:
            self.add_image(name, picture, step)
        return picture


def _labels(data_sample: DataSample, key: str) -> list[int]:
    return data_sample.get(key).tolist() if key in data_sample else []


def _class_name(label: int, classes: Sequence[str] | None) -> str:
    """The number and the first of the names that ImageNet has for a class."""
    return f'{label} {classes[label].partition(",")[0]}' if classes else str(label)
