"""Reading label pictures that may not be what they are taken for."""

from __future__ import annotations

import cv2
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
        labels = read_image(
            path, self.backend_args, flag='unchanged', backend=self.imdecode_backend
        )
        if labels.ndim != 2:
            raise UserError(
                f'{path} has {labels.shape[2]} channels; labels are one channel of '
                'class numbers, not colours: convert it'
            )
        # The file's own shape: in testing, the picture is resized before.
        if 'ori_shape' in results and labels.shape != tuple(results['ori_shape'][:2]):
            height, width = results['ori_shape'][:2]
            raise UserError(
                f'{path} is {labels.shape[1]}x{labels.shape[0]} pixels and its picture '
                f'{results["img_path"]} {width}x{height}; give the labels that are of '
                'this picture'
            )
        _check_range(labels, path)
        labels = labels.astype(np.uint8, copy=False)
        trained = self._trained_labels(results)
        self._check_labels(labels, trained, results)
        results['gt_seg_map'] = cv2.LUT(labels, trained)
        results['seg_fields'].append('gt_seg_map')

    def _trained_labels(self, results: dict) -> np.ndarray:
        """What each of the 256 labels of a file becomes, (256,) uint8."""
        reduce_zero = results['reduce_zero_label']
        if self.reduce_zero_label not in (None, reduce_zero):
            raise UserError(
                f'reduce_zero_label is {self.reduce_zero_label} in the pipeline and '
                f'{reduce_zero} in the data set; set it in the latter'
            )
        labels = np.arange(256, dtype=np.uint8)
        if reduce_zero:
            # 0 becomes nothing, as 255 stays; the others move down.
            labels = np.concatenate([[255], labels[:254], [255]]).astype(np.uint8)
        trained = labels.copy()
        for old, new in (results.get('label_map') or {}).items():
            trained[labels == old] = new
        return trained

    def _check_labels(
        self, labels: np.ndarray, trained: np.ndarray, results: dict
    ) -> None:
        # A histogram, since sorting a picture's labels takes longer than decoding them.
        counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
        num_classes = results['num_classes']
        found = np.unique(trained[counts > 0])
        strange = found[(found >= num_classes) & (found != self.ignore_index)]
        if strange.size:
            raise UserError(
                f'{results["seg_map_path"]} holds the label {strange[0]}; with '
                f'{num_classes} classes possible are 0 to {num_classes - 1}, and '
                f'{self.ignore_index} for none: convert it, or set metainfo.classes '
                'and num_classes'
            )


def _check_range(labels: np.ndarray, path: str) -> None:
    """Refuses what is no byte: mmseg would keep the lower eight bits.

    Raises:
        UserError: Names a label that is none.
    """
    if labels.dtype in (np.uint8, bool):
        return
    is_byte = (labels >= 0) & (labels <= 255)
    if labels.dtype.kind == 'f':
        is_byte &= labels == np.floor(labels)
    if not is_byte.all():
        raise UserError(
            f'{path} holds the label {labels[~is_byte][0]:g}; possible are whole '
            'numbers from 0 to 255: convert it to 8 bits'
        )
