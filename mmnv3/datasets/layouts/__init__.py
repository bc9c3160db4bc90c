"""Somebody's own data: which layout it is in, and what it holds.

A row of :data:`LAYOUTS` for each that is known. Nothing here writes.
"""

from mmnv3.datasets.layouts.samples import OwnData, Sample
from mmnv3.datasets.layouts.table import LAYOUTS, look_at

__all__ = ['LAYOUTS', 'OwnData', 'Sample', 'look_at']
