"""TensorFlow's way of resizing, for networks that were trained with it."""

from __future__ import annotations

from mmdet.datasets.transforms import Resize

from mmnv3.registry import TRANSFORMS
from mmnv3.resizing import picture_size, resize_tf
from mmnv3.size import Size


@TRANSFORMS.register_module()
class ResizeTF(Resize):
    """mmdet's ``Resize`` to one size, with TensorFlow 1's interpolation.

    The picture becomes float32, since that interpolation does not round; see
    :func:`mmnv3.resizing.resize_tf`. A network of Google's finds other boxes in what
    cv2 resizes: pixels differ by 2 to 5 of 255 on average.

    Args:
        scale: (width, height), pixels.
    """

    def __init__(self, scale: tuple[int, int]) -> None:
        super().__init__(scale=tuple(scale), keep_ratio=False)

    def _resize_img(self, results: dict) -> None:
        image = results.get('img')
        if image is None:
            return
        width, height = picture_size(image)
        size = Size(*results['scale'])
        results['img'] = resize_tf(image, size)
        results['img_shape'] = size[::-1]
        results['scale_factor'] = (size.width / width, size.height / height)
        results['keep_ratio'] = False
