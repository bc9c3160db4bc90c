"""Reading pictures that may be damaged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import mmcv
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log

from mmnv3.errors import UserError
from mmnv3.pictures import load_picture
from mmnv3.registry import TRANSFORMS


def read_image(
    path: str | Path, backend_args: dict | None = None, **kwargs: str
) -> np.ndarray:
    """Reads a picture as mmcv does, or says which one cannot be read.

    Args:
        path: The file, or an address that mmengine knows.
        backend_args: How mmengine fetches it; by the path's own prefix without.
        **kwargs: Those of ``mmcv.imfrombytes``.

    Returns:
        (H, W, 3) uint8, BGR, by default.

    Raises:
        UserError: When the file is missing, truncated, not a picture or too large.
    """
    return load_picture(
        path,
        partial(fileio.get, backend_args=backend_args),
        partial(mmcv.imfrombytes, **kwargs),
    )


# So many damaged pictures one after another are no accident.
_TOO_MANY = 100


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` that notices missing, truncated and other files.

    Args:
        skip_damaged: True, for training, skips a damaged picture, or one of another
            size than its annotation says (another is drawn in its place), with a
            warning that counts them; False, for testing, where skipping would flatter
            the result, raises.
        **kwargs: Those of ``LoadImageFromFile``.
    """

    def __init__(self, skip_damaged: bool = False, **kwargs: bool | str | dict) -> None:
        super().__init__(**kwargs)
        self.skip_damaged = skip_damaged or self.ignore_empty
        self.damaged: set[str] = set()
        self._in_a_row = 0

    def transform(self, results: dict) -> dict | None:
        """Adds ``img``, ``img_shape`` and ``ori_shape``.

        Raises:
            UserError: When the picture is damaged, or not of the size that its
                annotation says, and may not be skipped, or the last hundred were.
        """
        path = results['img_path']
        try:
            image = read_image(
                path,
                # Under its old name it says the same.
                self.backend_args or self.file_client_args,
                flag=self.color_type,
                backend=self.imdecode_backend,
            )
            _check_size(image, results)
        except UserError as error:
            if not self.skip_damaged:
                raise
            self._in_a_row += 1
            if self._in_a_row >= _TOO_MANY:
                raise UserError(
                    f'{error}, as the {_TOO_MANY - 1} drawn before it: check data_root '
                    'and data_prefix'
                ) from None
            if path not in self.damaged:
                self.damaged.add(path)
                print_log(
                    f'{error}; skipped, {len(self.damaged)} so far',
                    logger='current',
                    level=logging.WARNING,
                )
            return None
        self._in_a_row = 0
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def _check_size(image: np.ndarray, results: Mapping) -> None:
    """Compares a picture with its annotation, whose boxes were cut by its size.

    Raises:
        UserError: Names both sizes and a remedy.
    """
    height, width = image.shape[:2]
    said = results.get('width', width), results.get('height', height)
    if said == (width, height):
        return
    remedy = 'correct width and height there, or give the picture that it is of'
    if said == (height, width):
        remedy += (
            '; if a camera noted that the picture is to be turned, and its boxes are '
            "of the picture as it lies, load it with color_type='color_ignore_"
            "orientation'"
        )
    raise UserError(
        f'{results["img_path"]} has {width}x{height} pixels, and its annotation says '
        f'{said[0]:g}x{said[1]:g}: {remedy}'
    )
