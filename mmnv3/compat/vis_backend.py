"""Writes pictures of tests without OpenCV, which names can crash and disks deceive.

Upstream fault: mmengine 0.10.7 gives the name to `cv2.imwrite`. OpenCV 5 ends the
process where that is no UTF-8, as names of pictures and folders may be, and where a
disk is full it returns False, which mmengine does not look at: pictures were missing
without a word. Goes when mmengine writes the encoded bytes itself, as mmcv does.
"""

from pathlib import Path
from types import ModuleType
from typing import Any


def write_encoded(vis_backend: ModuleType) -> None:
    """Lets `LocalVisBackend` write through :func:`mmnv3.pictures.write_picture`."""

    def add_image(self: Any, name: str, image: Any, step: int = 0, **_: object) -> None:
        from mmnv3.pictures import write_picture

        path = Path(self._img_save_dir, f'{name}_{step}.png')
        write_picture(path, image[..., ::-1])

    backend = vis_backend.LocalVisBackend
    backend.add_image = vis_backend.force_init_env(add_image)
