"""Pictures of segmentations that say what their colours mean."""

from __future__ import annotations

from pathlib import Path

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmnv3.legend import draw_legend
from mmnv3.registry import VISUALIZERS


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
            data_sample.get(key)
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
            picture = np.concatenate([picture, draw_legend(entries, picture.shape[1])])
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file:
            mmcv.imwrite(mmcv.rgb2bgr(picture), out_file)
        else:
            self.add_image(Path(name).stem, picture, step)
