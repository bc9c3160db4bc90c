"""A stand-in for `mmcv._ext` where mmcv has no compiled operators.

Upstream fault: mmdet 3.3 (and OneDL 3.5) cannot be imported without mmcv's compiled
operators, yet neither `mmcv-lite` nor a plain `pip install onedl-mmcv` brings them,
and mmcv has no wheel for a current PyTorch. Goes when mmdet imports without `_ext`.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_NAME = 'mmcv._ext'


class _StandInFinder:
    """Finds `mmcv._ext`; stands last, so compiled operators are found before it."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Returns the spec of the stand-in for `mmcv._ext`, None for all else."""
        if name != _NAME:
            return None
        return importlib.util.spec_from_file_location(
            name, Path(__file__).with_name('mmcv_ops.py')
        )


def offer_stand_in() -> None:
    """Makes the stand-in importable as `mmcv._ext`, after everything else."""
    if _StandInFinder not in sys.meta_path:
        sys.meta_path.append(_StandInFinder)
