"""A description that cannot be true is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.results import finish
from mmnv3.errors import NotFiniteError, Remark, UserError
from mmnv3.tasks import CLASSIFICATION, SEGMENTATION
from tests.deploy.tiny import INFO


def read(**changed: object) -> ModelInfo:
    strings = {**INFO.to_strings(), **{k: json.dumps(v) for k, v in changed.items()}}
    return ModelInfo.from_strings(strings, 'a.onnx')


def test_what_is_written_is_read() -> None:
    assert read() == INFO


@pytest.mark.parametrize(
    'changed',
    [
        dict(score_threshold='0.1'),
        dict(iou_threshold=None),
        dict(iou_threshold=float('nan')),
        dict(mean=[1]),
        dict(mean='abc'),
        dict(std=[0, 1, 1]),
        dict(std=[-1, 1, 1]),
        dict(std=[float('inf'), 1, 1]),
        dict(input_shape=[1, 3, 12]),
        dict(input_shape=[1, 1, 12, 16]),
        dict(input_shape=[1, 3, 0, 16]),
        dict(input_shape=[True, 3, 12, 16]),
        dict(classes='dot'),
        dict(classes=[1, 2]),
        dict(classes=[]),
        dict(task='pose'),
        dict(task=['detection']),
        dict(channel_order='gbr'),
        dict(precision=8),
        dict(postprocessed='false'),
        dict(max_detections=0),
        dict(max_detections=1.5),
        dict(palette=[[1, 2, 3]]),
        dict(palette=[[1, 2, 300], [1, 2, 3]]),
        dict(task='segmentation', classes=['x'] * 257, palette=[]),
        dict(task='plain', postprocessed=True),
        dict(steps='Resize'),
        dict(steps=[1]),
        dict(steps=[{'type': 'Rotate'}]),
        dict(steps=[{'type': 'Resize'}]),
        dict(steps=[{'type': 'Resize', 'size': [16, '12']}]),
        dict(steps=[{'type': 'Resize', 'size': [16, 10**6]}]),
        dict(steps=[{'type': 'Resize', 'size': [16, 12], 'angle': 3}]),
        dict(steps=[{'type': 'Resize', 'size': [16, 12], 'keep_ratio': 'no'}]),
        dict(steps=[{'type': 'Resize', 'size': [16, 12], 'interpolation': 'box'}]),
        dict(steps=[{'type': 'Pad', 'divisor': 0}]),
        dict(steps=[{'type': 'Pad', 'value': [0]}]),
        dict(takes_pixels=1),
        dict(takes_pixels=True, takes_pictures=True, postprocessed=True),
        dict(
            takes_pixels=True, steps=[{'type': 'Pad', 'divisor': 4, 'normalized': True}]
        ),
    ],
)
def test_what_cannot_be_is_refused(changed) -> None:
    with pytest.raises(UserError, match=r'^a\.onnx: its description is wrong') as error:
        read(**changed)
    assert '\n' not in str(error.value)


def test_networks_of_nan_find_nothing_and_say_so() -> None:
    def outputs(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {n: np.full(s, np.nan, np.float32) for n, s in shapes.items()}

    final = replace(INFO, postprocessed=True)
    inside = outputs(boxes=(1, 5, 4), scores=(1, 5))
    inside['labels'] = np.zeros((1, 5), np.int32)
    for info, given in (
        (INFO, outputs(boxes=(1, 12, 4), scores=(1, 12, 2))),
        (final, inside),
    ):
        with pytest.warns(Remark, match='NaN instead of scores'):
            (found,) = finish(given, info, [(16, 12)])
        assert not len(found.boxes)
    # Of masks and classes one is always the best.
    classes = replace(INFO, task=CLASSIFICATION)
    masks = replace(INFO, task=SEGMENTATION, align_corners=False)
    sick = np.zeros((1, 2, 12, 16), np.float32)
    sick[0, 1, 3, 4] = np.nan
    for info, given in (
        (classes, outputs(logits=(1, 2))),
        (replace(classes, postprocessed=True), outputs(scores=(1, 2))),
        (masks, dict(logits=sick)),
        (replace(masks, postprocessed=True), dict(mask=np.full((1, 12, 16), -1))),
    ):
        with pytest.raises(NotFiniteError, match='gives NaN for a picture; its weig'):
            finish(given, info, [(16, 12)])
    # Nobody asked for the second place of the batch.
    (found,) = finish(
        dict(logits=np.float32([[1, 2], [np.nan, 0]])), classes, [(16, 12)]
    )
    assert found.labels.tolist() == [1, 0]


def test_what_is_no_number_takes_nothing_else_along() -> None:
    boxes = np.tile(np.float32([0, 0, 4, 4]), (1, 12, 1))
    scores = np.zeros((1, 12, 2), np.float32)
    boxes[0, 1], scores[0, 1:5, 0] = 8, (0.9, 0.8, np.nan, 0.7)
    boxes[0, 1, 2:], boxes[0, 4] = 12, np.nan
    with pytest.warns(Remark, match='NaN'):
        (found,) = finish(dict(boxes=boxes, scores=scores), INFO, [(16, 12)])
    np.testing.assert_allclose(found.scores, [0.9, 0.8])
