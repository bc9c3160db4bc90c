"""Pictures of tests: halves, colours, legends, captions, and who is in front."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmnv3.engine import (
    CaptionVisualizer,
    ClsVisualizationHook,
    DetectionVisualizer,
    LegendVisualizer,
)
from mmnv3.legend import add_legend, draw_legend

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


def test_a_legend_never_cuts_a_name() -> None:
    picture = np.zeros((30, 60, 3), np.uint8)
    name = 'an entry much longer than its picture is wide'
    drawn = add_legend(picture, {name: (250, 0, 0)})
    assert (drawn[:30, :60] == 0).all() and drawn.shape[1] > 300
    legend = drawn[30:]
    # White to the left, right, above and below: nothing touches the edge.
    for edge in (legend[:, :3], legend[:, -3:], legend[:1], legend[-1:]):
        assert (edge == 255).all()
    assert (legend == (250, 0, 0)).all(-1).any()


def test_labels_come_as_arrays_too() -> None:
    visualizer = LegendVisualizer()
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    labels = torch.zeros(1, 40, 60, dtype=torch.int64)
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
    drawn = []
    # mmseg's browse_dataset.py turns its samples into arrays.
    for given in (sample, sample.numpy()):
        visualizer.add_datasample('a', np.zeros((40, 60, 3), np.uint8), given)
        drawn.append(visualizer.get_image())
    np.testing.assert_array_equal(*drawn)


def test_the_better_of_two_detections_is_in_front() -> None:
    visualizer = DetectionVisualizer()
    visualizer.dataset_meta = dict(
        classes=('worse', 'better'), palette=list(PALETTE[:2])
    )
    box = torch.tensor([[20.0, 20, 80, 80]])

    def drawn(order: list[int]) -> np.ndarray:
        found = InstanceData(
            bboxes=box.repeat(2, 1),
            scores=torch.tensor([0.5, 0.9])[order],
            labels=torch.tensor([0, 1])[order],
        )
        sample = DetDataSample(pred_instances=found)
        image = np.zeros((100, 100, 3), np.uint8)
        visualizer.add_datasample('a', image, sample, draw_gt=False)
        assert found.scores.tolist() == torch.tensor([0.5, 0.9])[order].tolist()
        return visualizer.get_image()

    np.testing.assert_array_equal(drawn([0, 1]), drawn([1, 0]))
    edge = drawn([1, 0])[50, 18:23].astype(int)
    assert (edge[:, 1] > edge[:, 0]).any() and not (edge[:, 0] > edge[:, 1]).any()
    # Truths have no scores.
    truth = DetDataSample(
        gt_instances=InstanceData(bboxes=box, labels=torch.zeros(1).long())
    )
    visualizer.add_datasample('a', np.zeros((100, 100, 3), np.uint8), truth)


def classified(label: int, path: str) -> DataSample:
    sample = DataSample(metainfo=dict(img_path=path))
    sample.set_gt_label(0).set_pred_label(label)
    return sample.set_pred_score(torch.tensor([0.1, 0.7, 0.2]))


def test_captions_stand_below_the_picture(tmp_path: Path) -> None:
    visualizer = CaptionVisualizer()
    visualizer.dataset_meta = dict(classes=CLASSES)
    image = np.full((50, 40, 3), (200, 100, 0), np.uint8)
    drawn = visualizer.visualize_cls(
        image, classified(1, 'a.jpg'), out_file=str(tmp_path / 'a.png')
    )
    np.testing.assert_array_equal(drawn[:50, :40], image)
    saved = cv2.imread(str(tmp_path / 'a.png'))[..., ::-1]
    np.testing.assert_array_equal(saved, drawn)
    right = visualizer.visualize_cls(image, classified(0, 'a.jpg'), rescale_factor=2)
    np.testing.assert_array_equal(right[:100, :80], image.repeat(2, 0).repeat(2, 1))
    # What is wrong is red, and what is right green.
    (wrong, right) = (
        legend.reshape(-1, 3).astype(int) for legend in (drawn[50:], right[100:])
    )
    for legend, ahead, behind in ((wrong, 0, 1), (right, 1, 0)):
        assert (legend[:, ahead] - legend[:, behind]).max() > 100
        assert (legend[:, behind] - legend[:, ahead]).max() < 100


def test_classified_pictures_are_whole_and_in_their_colours(tmp_path: Path) -> None:
    paths = [tmp_path / folder / 'same.png' for folder in 'ab']
    for path in paths:
        path.parent.mkdir()
        cv2.imwrite(str(path), np.full((60, 40, 3), (255, 0, 0), np.uint8))
    visualizer = CaptionVisualizer.get_instance(
        'whole', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path)
    )
    visualizer.dataset_meta = dict(classes=CLASSES)
    hook = ClsVisualizationHook(enable=True, interval=1)
    samples = [classified(1, str(path)) for path in paths]
    batch = dict(inputs=torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    hook.after_test_iter(None, 0, batch, samples)
    drawn = sorted(tmp_path.glob('vis_data/vis_image/*.png'))
    # Two pictures of one name in two folders are two.
    assert len(drawn) == 2
    for path in drawn:
        assert cv2.imread(str(path))[30, 20].tolist() == [255, 0, 0]


@pytest.mark.parametrize('name', ['a.jfif', 'a', os.fsdecode(b'a.jp\xffg')])
def test_pictures_of_any_ending_are_drawn(name: str, tmp_path: Path) -> None:
    visualizer = DetectionVisualizer()
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    image = np.full((40, 60, 3), 100, np.uint8)
    visualizer.add_datasample('a', image, out_file=str(tmp_path / name))
    assert cv2.imread(str(tmp_path / 'a.png')).shape == (40, 60, 3)
