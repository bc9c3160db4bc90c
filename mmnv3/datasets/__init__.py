"""Data: what the toolboxes lack, and the generated demo set in ``demo``."""

from mmnv3.datasets.checked_coco import CheckedCocoDataset
from mmnv3.datasets.checked_imagenet import CheckedCustomDataset, CheckedImageNet
from mmnv3.datasets.checked_segmentation import (
    CheckedCityscapesDataset,
    CheckedSegDataset,
)
from mmnv3.datasets.load_image import LoadCheckedImage
from mmnv3.datasets.load_labels import LoadCheckedLabels
from mmnv3.datasets.resize_tf import ResizeTF

__all__ = [
    'CheckedCityscapesDataset',
    'CheckedCocoDataset',
    'CheckedCustomDataset',
    'CheckedImageNet',
    'CheckedSegDataset',
    'LoadCheckedImage',
    'LoadCheckedLabels',
    'ResizeTF',
]
