"""Pictures of a test are written under any name, and told where they are not."""

import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.visualization import LocalVisBackend, Visualizer

from mmnv3.errors import UserError
from mmnv3.pictures import read_picture

# OpenCV ends the whole process where it is given such a name.
STRANGE = os.fsdecode(b'\xff\xfe')


def test_any_name_is_written(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    backend = LocalVisBackend(str(tmp_path / STRANGE))
    Visualizer(vis_backends=[backend]).add_image(f'val_{STRANGE}', image, 3)
    path = tmp_path / STRANGE / 'vis_image' / f'val_{STRANGE}_3.png'
    np.testing.assert_array_equal(read_picture(path)[..., ::-1], image)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / 'vis_image').touch()
    with pytest.raises(UserError, match=r'a_0\.png cannot be written'):
        LocalVisBackend(str(tmp_path)).add_image('a', np.zeros((4, 4, 3), np.uint8))
