"""Exported files tested by the Runner say what their models say."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmnv3.deploy.export import export_config
from mmnv3.deploy.exported_model import (
    ExportedModel,
    is_exported,
    set_exported,
    set_runtime,
)
from mmnv3.deploy.runtime import FORMATS
from mmnv3.engine.config import read_config
from mmnv3.engine.launch import build_runner
from mmnv3.errors import UserError
from tests.deploy.cases import CASES, Case, random_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def sets(tmp_path_factory) -> Path:
    """Three pictures with boxes, masks and classes, in every toolbox's layout."""
    from mmnv3.datasets.demo import DemoSpec, write_demo_data

    out = tmp_path_factory.mktemp('sets')
    write_demo_data(out / 'demo', DemoSpec(train=1, val=3, size=128))
    for number in range(3):
        path = out / 'classes' / str(number) / 'a.png'
        path.parent.mkdir(parents=True)
        noise = np.random.default_rng(number).integers(0, 256, (8, 12, 3), np.uint8)
        # Of several sizes, which a batch of the loaded ones has to bear.
        cv2.imwrite(str(path), cv2.resize(noise, (300, 200 + 100 * number)))
    return out


def detection(sets: Path) -> tuple[Case, dict]:
    root = f'{sets}/demo/'
    data = {
        'test_dataloader.dataset.data_root': root,
        'test_dataloader.dataset.pipeline.1.scale': (192, 160),
        'test_evaluator.ann_file': root + 'annotations/instances_val.json',
        'model.bbox_head.anchor_generator.input_size': (192, 160),
        'model.bbox_head.prior_prob': 0.2,
    }
    return Case('tests/configs/ssdlite_shallow.py', (192, 160), data), data


def segmentation(sets: Path) -> tuple[Case, dict]:
    data = {'test_dataloader.dataset.data_root': f'{sets}/demo'}
    return Case('tests/configs/lraspp_shallow.py', (128, 128), data), data


def padded(sets: Path) -> tuple[Case, dict]:
    """The network sees more than the picture, and masks have to be cut."""
    data = {
        **segmentation(sets)[1],
        'model.data_preprocessor.test_cfg': dict(size=(160, 192)),
    }
    return Case('tests/configs/lraspp_shallow.py', (192, 160), data), data


def resized(sets: Path) -> tuple[Case, dict]:
    """The network sees an enlarged picture in windows; logits have to shrink."""
    steps = [
        dict(type='mmnv3.LoadCheckedImage'),
        dict(type='Resize', scale=(192, 160)),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    data = {
        **segmentation(sets)[1],
        'test_dataloader.dataset.pipeline': steps,
        # Two windows.
        'model.test_cfg': dict(mode='slide', crop_size=(160, 128), stride=(99, 64)),
    }
    return Case('tests/configs/lraspp_shallow.py', (192, 160), data), data


def letterbox(sets: Path) -> tuple[Case, dict]:
    case, data = detection(sets)
    pipeline = read_config(case.config).test_dataloader.dataset.pipeline
    data = {
        **data,
        'test_dataloader.dataset.pipeline': [
            pipeline[0],
            dict(type='Resize', scale=(160, 160), keep_ratio=True),
            dict(type='Pad', size=(192, 192), pad_val=114),
            *pipeline[2:],
        ],
        'model.bbox_head.anchor_generator.input_size': 192,
    }
    del data['test_dataloader.dataset.pipeline.1.scale']
    return Case(case.config, (192, 192), data), data


def classification(sets: Path) -> tuple[Case, dict]:
    data = {
        'test_dataloader.dataset': dict(
            _delete_=True,
            type='CustomDataset',
            data_prefix=f'{sets}/classes',
            pipeline=[
                dict(type='mmnv3.LoadCheckedImage'),
                dict(type='ResizeEdge', scale=256, edge='short'),
                dict(type='CenterCrop', crop_size=224),
                dict(type='PackInputs'),
            ],
        ),
        'model.head.num_classes': 3,
        'model.head.loss.num_classes': 3,
        'model.data_preprocessor.num_classes': 3,
        'test_evaluator.topk': (1,),
    }
    return Case('tests/configs/classifier_shallow.py', (224, 224), data), data


TASKS = dict(
    detection=detection,
    letterbox=letterbox,
    segmentation=segmentation,
    padded=padded,
    resized=resized,
    classes=classification,
)
# The others are in PyTorch's own format, which is written in a third of the time.
KINDS = dict(detection='onnx', segmentation='onnx')


@pytest.fixture(scope='module')
def trained(sets) -> Callable:
    """Config, options, checkpoint and a file that was exported from it."""
    made = {}

    def of(task: str) -> tuple[Case, Path, Path]:
        if task not in made:
            case, options = TASKS[task](sets)
            kind = KINDS.get(task, 'pytorch')
            checkpoint = sets / f'{task}.pth'
            file = checkpoint.with_suffix(FORMATS[kind].suffixes[0])
            torch.save(dict(state_dict=random_model(case).state_dict()), checkpoint)
            export_config(
                case.config, str(checkpoint), file, kind, case.size, options, 2
            )
            made[task] = case, checkpoint, file
        return made[task]

    return of


def outcome(case: Case, out: Path, change: Callable[[Config], None]) -> tuple:
    """Metrics, and the predictions as `--out` writes them."""
    from mmengine.evaluator import DumpResults

    config = read_config(case.config, case.options)
    config.work_dir, config.launcher = str(out.parent), 'none'
    config.test_dataloader.num_workers = 0
    config.test_dataloader.persistent_workers = False
    change(config)
    runner: Runner = build_runner(config)
    runner.test_evaluator.metrics.append(DumpResults(out_file_path=str(out)))
    return runner.test(), pickle.loads(out.read_bytes())


@pytest.mark.parametrize('task', TASKS)
def test_metrics_and_predictions_are_those_of_the_checkpoint(
    trained, tmp_path, task
) -> None:
    case, checkpoint, file = trained(task)
    own, expected = outcome(
        case, tmp_path / 'own.pkl', lambda c: c.update(load_from=str(checkpoint))
    )
    metrics, found = outcome(
        case, tmp_path / 'file.pkl', lambda config: set_exported(config, str(file))
    )
    assert metrics == pytest.approx(own, abs=0.01) and metrics
    assert len(found) == len(expected) == 3  # The last of two batches is not full.
    for ours, theirs in zip(found, expected, strict=True):
        if task in ('detection', 'letterbox'):
            ours, theirs = ours['pred_instances'], theirs['pred_instances']
            assert len(ours['scores']) == len(theirs['scores']) > 20
            torch.testing.assert_close(
                ours['scores'], theirs['scores'], atol=1e-4, rtol=0
            )
            apart = (ours['bboxes'][:, None] - theirs['bboxes']).abs().amax(-1)
            apart[ours['labels'][:, None] != theirs['labels']] = torch.inf
            assert apart.min(1).values.max() < 0.05
        elif task in ('segmentation', 'padded', 'resized'):
            masks = [x['pred_sem_seg']['data'] for x in (ours, theirs)]
            assert masks[0].shape == masks[1].shape == (1, 128, 128)
            assert (masks[0] == masks[1]).float().mean() > 0.999
            torch.testing.assert_close(
                ours['seg_logits']['data'], theirs['seg_logits']['data'],
                atol=1e-3, rtol=0,
            )  # fmt: skip
        else:
            assert torch.equal(ours['pred_label'], theirs['pred_label'])
            torch.testing.assert_close(
                ours['pred_score'], theirs['pred_score'], atol=1e-5, rtol=0
            )


@pytest.mark.parametrize(
    ('task', 'kind', 'preprocess'),
    [
        ('segmentation', 'onnx', False),
        ('letterbox', 'pytorch', True),
        ('resized', 'pytorch', True),
        ('classes', 'pytorch', True),
    ],
)
def test_postprocessed_files_predict_too(
    trained, tmp_path, task, kind, preprocess
) -> None:
    case, checkpoint, _ = trained(task)
    file = tmp_path / f'whole{FORMATS[kind].suffixes[0]}'
    export_config(
        case.config, str(checkpoint), file, kind, case.size, case.options,
        postprocess=True, preprocess=preprocess,
    )  # fmt: skip
    own, _ = outcome(
        case, tmp_path / 'own.pkl', lambda c: c.update(load_from=str(checkpoint))
    )
    metrics, found = outcome(
        case, tmp_path / 'file.pkl', lambda config: set_exported(config, str(file))
    )
    assert metrics == pytest.approx(own, abs=0.01) and metrics
    assert 'seg_logits' not in found[0]
    if task == 'classes':
        with pytest.raises(UserError, match=r'the 5 best .*topk=\(1, 6\) asks for m'):
            wide = dict(case.options, **{'test_evaluator.topk': (1, 6)})
            set_exported(read_config(case.config, wide), str(file))


@pytest.mark.parametrize('task', ['segmentation', 'detection'])
def test_a_backend_runs_the_checkpoint_of_a_config(trained, tmp_path, task) -> None:
    case, checkpoint, _ = trained(task)
    own, _ = outcome(
        case, tmp_path / 'own.pkl', lambda c: c.update(load_from=str(checkpoint))
    )
    settings = dict(
        checkpoint=str(checkpoint), backend='pytorch', options=dict(case.options)
    )
    metrics, _ = outcome(
        case, tmp_path / 'file.pkl', lambda config: set_runtime(config, **settings)
    )
    assert metrics == pytest.approx(own, abs=0.01) and metrics


def test_pictures_are_prepared_as_the_file_says(trained, tmp_path) -> None:
    case, checkpoint, _ = trained('resized')
    scale = {'test_dataloader.dataset.pipeline.1.scale': (160, 128)}
    small = replace(case, size=(160, 128), options={**case.options, **scale})
    file = tmp_path / 'small.pt2'
    export_config(
        case.config, str(checkpoint), file, 'pytorch', small.size, case.options
    )  # fmt: skip
    own, expected = outcome(
        small, tmp_path / 'own.pkl', lambda c: c.update(load_from=str(checkpoint))
    )
    # Of another size, mean and order than the file's.
    other = {
        'model.data_preprocessor.mean': [0, 0, 0],
        'model.data_preprocessor.bgr_to_rgb': False,
    }
    metrics, found = outcome(
        replace(case, options={**case.options, **other}),
        tmp_path / 'file.pkl',
        lambda config: set_exported(config, str(file)),
    )
    assert metrics == pytest.approx(own, abs=0.01) and metrics
    for ours, theirs in zip(found, expected, strict=True):
        masks = [x['pred_sem_seg']['data'] for x in (ours, theirs)]
        assert (masks[0] == masks[1]).float().mean() > 0.999


def test_what_does_not_fit_is_told(trained, exported) -> None:
    file = str(trained('detection')[2])
    for config, options, message in (
        (CASES['lraspp'].config, {}, 'is for detection and .* for segmentation'),
        (CASES['sigmoid'].config, {}, 'has 6 classes and .* 80; use the config'),
    ):
        with pytest.raises(UserError, match=message) as error:
            set_exported(read_config(config, options), file)
        assert '\n' not in str(error.value)
    blurred = {'test_dataloader.dataset.pipeline.1': dict(type='Blur')}
    with pytest.raises(UserError, match=r'Blur.* can only be done by its toolbox'):
        set_exported(read_config(CASES['wide'].config, blurred), file)
    model = ExportedModel(str(exported.file('lraspp', 'onnx')), keeps_size=True)
    with pytest.raises(UserError, match=r'here 64x32, and .* takes 257x161; export it'):
        model([torch.zeros(3, 32, 64, dtype=torch.uint8)], [])
    with pytest.raises(UserError, match='only predicts'):
        model([torch.zeros(3, 161, 257, dtype=torch.uint8)], [], mode='loss')


def test_files_are_told_by_their_ending() -> None:
    assert all(map(is_exported, ('a.onnx', 'a.xml', 'a.tflite', 'b/a.pt2')))
    assert not any(map(is_exported, ('a.pth', 'a.pt', 'onnx')))
