"""COCO's figures of detectors with all of its ids and with the 80 that it uses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS, METRICS, DefaultScope

import mmnv3.engine  # noqa: F401
from mmnv3.convert import to_ours
from mmnv3.convert.conversion import COCO_IDS
from mmnv3.convert.fitting_config import write_fitting_config
from mmnv3.convert.tensorflow import from_variables
from mmnv3.engine.config import read_config
from tests.convert.test_frozen_graph import Sample

# A person, a stop sign behind the first id that COCO never used, and a toothbrush.
IDS = (1, 13, 90)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO's categories, one picture, and configs of a converted detector."""
    folder = tmp_path_factory.mktemp('coco')
    names = CocoDataset.METAINFO['classes']
    boxes = [[20 * index, 10, 15, 20] for index in range(len(IDS))]
    content = dict(
        images=[dict(id=7, file_name='a.png', width=100, height=80)],
        annotations=[
            dict(
                id=index + 1, image_id=7, category_id=number, bbox=box,
                area=box[2] * box[3], iscrowd=0,
            )
            for index, (number, box) in enumerate(zip(IDS, boxes))
        ],
        categories=[
            dict(id=number, name=name) for number, name in zip(COCO_IDS, names)
        ],
    )  # fmt: skip
    (folder / 'ann.json').write_text(json.dumps(content))
    state = from_variables(Sample('detector', 0.01).variables)
    for classes in (80, 90):
        converted = to_ours(state, 'tensorflow', 80 if classes == 80 else None)
        text = write_fitting_config(converted, 'a.pb')
        (folder / f'{classes}.py').write_text(text)
    return folder


@pytest.mark.parametrize('classes', [80, 90])
def test_ids_and_labels_are_cocos(folder: Path, classes: int) -> None:
    config = read_config(str(folder / f'{classes}.py'))
    assert config.model.bbox_head.num_classes == classes
    settings = config.test_dataloader.dataset
    settings.update(
        ann_file=str(folder / 'ann.json'),
        data_root='',
        data_prefix=dict(img=''),
        pipeline=[],
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(settings)
        metric = METRICS.build(
            dict(
                config.test_evaluator,
                ann_file=str(folder / 'ann.json'),
                outfile_prefix=str(folder / f'found{classes}'),
            )
        )
    instances = dataset.get_data_info(0)['instances']
    # The labels that the head has: ids count from 1 where all are kept.
    labels = [number - 1 if classes == 90 else COCO_IDS.index(number) for number in IDS]
    assert [each['bbox_label'] for each in instances] == labels
    metric.dataset_meta = dataset.metainfo
    boxes = [each['bbox'] for each in instances]
    if classes == 90:
        # A street sign, of which COCO's files know nothing.
        labels, boxes = [11, *labels], [boxes[0], *boxes]
    found = dict(
        bboxes=torch.tensor(boxes),
        scores=torch.linspace(0.9, 0.5, len(labels)),
        labels=torch.tensor(labels),
    )
    sample = dict(img_id=7, ori_shape=(80, 100), pred_instances=found)
    metric.process({}, [sample])
    figures = metric.evaluate(size=1)
    assert figures['coco/bbox_mAP'] == 1
    written = json.loads((folder / f'found{classes}.bbox.json').read_text())
    assert [each['category_id'] for each in written] == list(IDS)
    np.testing.assert_allclose(
        [each['bbox'] for each in written], [[20 * i, 10, 15, 20] for i in range(3)]
    )
