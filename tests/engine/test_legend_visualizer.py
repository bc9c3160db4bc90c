"""Pictures of segmentations: halves, colours, legend."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmnv3.engine import LegendVisualizer
from mmnv3.legend import draw_legend

CLASSES = ('road', 'sky', 'tree')
PALETTE = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def test_truth_left_found_right_and_the_legend_below(tmp_path: Path) -> None:
    visualizer = LegendVisualizer(alpha=0.5)
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    truth = torch.zeros(1, 40, 60, dtype=torch.int64)
    truth[:, :10] = 255
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=truth),
        pred_sem_seg=PixelData(data=torch.ones_like(truth)),
    )
    path = tmp_path / 'a.png'
    image = np.full((40, 60, 3), 100, np.uint8)
    visualizer.add_datasample('a', image, sample, out_file=str(path))
    found = cv2.imread(str(path))[..., ::-1]
    assert found.shape[1] == 120 and found.shape[0] > 40
    # Half the picture and half the palette; no colour where there is no label.
    assert found[20, 30].tolist() == [150, 50, 50]
    assert found[20, 90].tolist() == [50, 150, 50]
    assert found[5, 30].tolist() == [50, 50, 50]
    legend = found[40:].reshape(-1, 3).tolist()
    assert [200, 0, 0] in legend and [0, 200, 0] in legend
    assert [0, 0, 200] not in legend


def test_a_legend_has_the_width_asked_for_and_the_lines_it_needs() -> None:
    entries = {f'class {n}': (n, n, n) for n in range(19)}
    wide, narrow = draw_legend(entries, 2048), draw_legend(entries, 320)
    assert wide.shape[1:] == (2048, 3) and narrow.shape[1:] == (320, 3)
    assert wide.shape[0] < narrow.shape[0]
    for colour in entries.values():
        assert (narrow == colour).all(-1).any(), colour
    assert draw_legend({}, 100).shape[1] == 100
