"""Data: what the toolboxes lack, and the generated demo set in ``demo``."""

from mmnv3.datasets.checked_coco import CheckedCocoDataset
from mmnv3.datasets.load_image import LoadCheckedImage

__all__ = ['CheckedCocoDataset', 'LoadCheckedImage']
