"""Reading label pictures that may not be what they are taken for."""

from __future__ import annotations

import numpy as np
from mmseg.datasets.transforms import LoadAnnotations

from mmnv3.datasets.load_image import read_image
from mmnv3.errors import UserError
from mmnv3.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadCheckedLabels(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` that believes no file before it has looked at it.

    It is for the checked data sets of this package, which tell it the classes.

    Args:
        ignore_index: The label that counts for nothing.
        **kwargs: Those of mmseg's ``LoadAnnotations``.
    """

    def __init__(self, ignore_index: int = 255, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    def _load_seg_map(self, results: dict) -> None:
        """Adds ``gt_seg_map``, (H, W) uint8.

        Raises:
            UserError: When the file is missing, damaged, of more than one channel, of
                another size than its picture, or holds a label that is no class.
        """
        path = results['seg_map_path']
        labels = read_image(path, flag='unchanged', backend=self.imdecode_backend)
        if labels.ndim != 2:
            raise UserError(
                f'{path} has {labels.shape[2]} channels; labels are one channel of '
                'class numbers, not colours: convert it'
            )
        if 'img_shape' in results and labels.shape != tuple(results['img_shape'][:2]):
            height, width = results['img_shape'][:2]
            raise UserError(
                f'{path} is {labels.shape[1]}x{labels.shape[0]} pixels and its picture '
                f'{results["img_path"]} {width}x{height}'
            )
        # mmseg would keep the lower byte.
        if labels.max(initial=0) > 255:
            raise UserError(
                f'{path} holds labels up to {labels.max()}; possible are 0 to 255'
            )
        super()._load_seg_map(results)
        num_classes = results['num_classes']
        found = np.unique(results['gt_seg_map'])
        strange = found[(found >= num_classes) & (found != self.ignore_index)]
        if strange.size:
            raise UserError(
                f'{path} holds the label {strange[0]}; with {num_classes} classes '
                f'possible are 0 to {num_classes - 1}, and {self.ignore_index} for '
                'none: convert it, or set metainfo.classes and num_classes'
            )
