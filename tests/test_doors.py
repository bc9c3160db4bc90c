"""OpenMMLab's own doors with our configs: inferencers, APIs, hooks, models, tools.

docs/openmmlab.md tells users the same, and what upstream itself breaks.
"""

from __future__ import annotations

import pickle
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from safetensors.torch import save_file
from torch import nn

from mmnv3.arch import follow_backbone
from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.deploy.predictor import Predictor
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import read_checkpoint
from mmnv3.engine.config import read_config
from tests.models.parity import calibrate_norms
from tests.tools import run_tool

SIDE = 96
# Loaders in other processes cost more than they save here.
LOADER = dict(batch_size=2, num_workers=0, persistent_workers=False)
LOADERS = {
    f'{phase}_dataloader.{key}': value
    for phase in ('train', 'val', 'test')
    for key, value in LOADER.items()
}


@contextmanager
def separate_process() -> Iterator[None]:
    """Lets scopes, loggers and visualizers of a name be made anew, as in a process."""
    kinds: list = [DefaultScope, MMLogger, Visualizer]
    for kind in kinds:
        kinds += kind.__subclasses__()
    kept = [(kind, kind._instance_dict.copy()) for kind in kinds]
    for kind in kinds:
        kind._instance_dict.clear()
    backend = matplotlib.get_backend()
    matplotlib.use('Agg')
    yield
    matplotlib.use(backend)
    for kind, instances in kept:
        kind._instance_dict.clear()
        kind._instance_dict.update(instances)


@dataclass(frozen=True)
class Door:
    """A config as a file, weights for it, a picture, and the toolbox."""

    config: str
    checkpoint: str
    picture: str
    toolbox: str

    def read(self) -> Config:
        return Config.fromfile(self.config)

    def run(self, tool: str, *args: object) -> None:
        """Runs a tool of the toolbox in this process, as if from the command line."""
        package = Path(import_module(self.toolbox).__file__).parent
        path = package / '.mim/tools' / tool
        with pytest.MonkeyPatch.context() as patch, separate_process():
            patch.setattr(sys, 'argv', [str(path), *map(str, args)])
            # Their Runners format a config four times, which takes a second each.
            for place in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):
                name = f'{place}.FormatCode'
                patch.setattr(name, lambda code, **_: (code, 1), raising=False)
            # Some look for modules beside them.
            patch.syspath_prepend(str(path.parent))
            runpy.run_path(str(path), run_name='__main__')


def _as_it_is(code: str, **_: object) -> tuple[str, bool]:
    return code, False


def make_door(
    folder: Path, toolbox: str, name: str, options: dict, picture: Path, classes: tuple
) -> Door:
    config = read_config(f'tests/configs/{name}.py', {**LOADERS, **options})
    path = folder / f'{toolbox}.py'
    config.dump(str(path))
    model = build_model(config)
    # Without it random networks say the same of everything.
    calibrate_norms(model, model)
    if toolbox == 'mmpretrain':
        nn.init.normal_(model.head.fc.weight)
    checkpoint = folder / f'{toolbox}.pth'
    colours = [(index % 256, 100, 0) for index in range(len(classes))]
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=classes, palette=colours)),
        ),
        checkpoint,
    )
    return Door(str(path), str(checkpoint), str(picture), toolbox)


@pytest.fixture(autouse=True)
def separate() -> Iterator[None]:
    """Keeps a test's scopes, loggers and visualizers from the tests after it."""
    with separate_process():
        yield


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('doors') / 'demo'
    write_demo_data(folder, DemoSpec(train=4, val=2, size=SIDE))
    return folder


@pytest.fixture(scope='module')
def picture(demo: Path) -> Path:
    return sorted(demo.glob('leftImg8bit/val/**/*.jpg'))[0]


@pytest.fixture(scope='module')
def detector(demo: Path, picture: Path) -> Door:
    options: dict = {
        'model.bbox_head.anchor_generator.input_size': SIDE,
        'model.bbox_head.prior_prob': 0.2,
    }
    for phase, resize in (('train', 4), ('val', 1)):
        options[f'{phase}_dataloader.dataset.data_root'] = f'{demo}/'
        place = f'{phase}_dataloader.dataset.pipeline.{resize}.scale'
        options[place] = (SIDE, SIDE)
    options['tta_pipeline.1.scale'] = (SIDE, SIDE)
    options |= {
        key.replace('val_', 'test_', 1): value
        for key, value in options.items()
        if key.startswith('val_')
    }
    for phase in ('val', 'test'):
        options[f'{phase}_evaluator.ann_file'] = (
            f'{demo}/annotations/instances_val.json'
        )
    name = 'ssdlite_shallow'
    classes = tuple(read_config(f'tests/configs/{name}.py').metainfo.classes)
    return make_door(demo.parent, 'mmdet', name, options, picture, classes)


@pytest.fixture(scope='module')
def segmenter(demo: Path, picture: Path) -> Door:
    options = {
        f'{phase}_dataloader.dataset.data_root': f'{demo}/'
        for phase in ('train', 'val', 'test')
    }
    options['model.data_preprocessor.size'] = (SIDE, SIDE)
    options['train_dataloader.dataset.pipeline.2.crop_size'] = (SIDE, SIDE)
    name = 'lraspp_shallow'
    classes = tuple(read_config(f'tests/configs/{name}.py').metainfo.classes)
    return make_door(demo.parent, 'mmseg', name, options, picture, classes)


@pytest.fixture(scope='module')
def classifier(demo: Path, picture: Path) -> Door:
    """On two pictures of each of two classes in ImageNet's layout."""
    root = demo.parent / 'imagenet'
    pictures = sorted(demo.glob('leftImg8bit/train/**/*.jpg'))
    for split in ('train', 'val'):
        lines = []
        for index, source in enumerate(pictures):
            label = index % 2
            path = root / split / f'n0144{label}' / source.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())
            lines.append(f'{path.relative_to(root / split)} {label}\n')
        (root / f'{split}.txt').write_text(''.join(lines))
    options = {}
    for phase, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = f'{phase}_dataloader.dataset'
        options[f'{dataset}.data_root'] = str(root)
        options[f'{dataset}.ann_file'] = f'{split}.txt'
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    name = 'classifier_shallow'
    return make_door(
        demo.parent, 'mmpretrain', name, options, picture, tuple(IMAGENET_CATEGORIES)
    )


# --- inferencers and functions


def test_detection(detector: Door, tmp_path: Path) -> None:
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    model = init_detector(detector.config, detector.checkpoint, device='cpu')
    found = inference_detector(model, detector.picture).pred_instances
    assert len(found) > 10
    inferencer = DetInferencer(detector.config, detector.checkpoint, device='cpu')
    (said,) = inferencer(
        detector.picture, out_dir=str(tmp_path), no_save_pred=False, pred_score_thr=0
    )['predictions']
    torch.testing.assert_close(torch.tensor(said['scores']), found.scores)
    torch.testing.assert_close(torch.tensor(said['bboxes']), found.bboxes)
    assert list(tmp_path.glob('vis/*.jpg')) and list(tmp_path.glob('preds/*.json'))
    ours = Predictor(detector.config, detector.checkpoint)(detector.picture)
    np.testing.assert_allclose(ours.boxes, found.bboxes, atol=0.01)


def test_segmentation(segmenter: Door, tmp_path: Path) -> None:
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    model = init_model(segmenter.config, segmenter.checkpoint, device='cpu')
    found = inference_model(model, segmenter.picture).pred_sem_seg.data[0]
    assert found.shape == (SIDE, SIDE)
    inferencer = MMSegInferencer(segmenter.config, segmenter.checkpoint, device='cpu')
    said = inferencer(segmenter.picture, out_dir=str(tmp_path))['predictions']
    np.testing.assert_array_equal(said, found)
    assert list(tmp_path.glob('vis/*'))
    ours = Predictor(segmenter.config, segmenter.checkpoint)(segmenter.picture)
    np.testing.assert_array_equal(ours.mask, found)


def test_classification(classifier: Door, tmp_path: Path) -> None:
    from mmpretrain import (
        FeatureExtractor,
        ImageClassificationInferencer,
        get_model,
        inference_model,
    )

    given = dict(pretrained=classifier.checkpoint, device='cpu')
    model = get_model(Config.fromfile(classifier.config), **given)
    # This function is for models of mmpretrain's own list.
    with pytest.raises(NotImplementedError, match='No available inferencer'):
        inference_model(model, classifier.picture)
    inferencer = ImageClassificationInferencer(model, device='cpu', pretrained=None)
    (found,) = inferencer(classifier.picture, show_dir=str(tmp_path))
    (again,) = ImageClassificationInferencer(classifier.config, **given)(
        classifier.picture
    )
    assert again['pred_label'] == found['pred_label']
    assert list(tmp_path.iterdir())
    ours = Predictor(classifier.config, classifier.checkpoint)(classifier.picture)
    assert ours.labels[0] == found['pred_label']
    assert ours.scores[0] == pytest.approx(found['pred_score'], rel=1e-4)
    (features,) = FeatureExtractor(classifier.config, **given)(classifier.picture)
    assert [feature.shape for feature in features] == [(576,)]


# --- training's and testing's additions


def train(door: Door, work_dir: Path, *hooks: dict, **changes: object) -> Runner:
    """Trains two steps without validating."""
    config = door.read()
    config.work_dir = str(work_dir)
    config.train_cfg = dict(by_epoch=False, max_iters=2)
    config.param_scheduler = None
    for phase in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            config[f'{phase}_{part}'] = None
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=2
    )
    config.custom_hooks = [*config.custom_hooks, *hooks]
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    config.merge_from_dict(changes)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.mark.parametrize(
    'average', ['ExponentialMovingAverage', 'StochasticWeightAverage']
)
def test_averages_of_weights(detector: Door, tmp_path: Path, average: str) -> None:
    hook = dict(type='EMAHook', ema_type=average, strict_load=True)
    if average == 'StochasticWeightAverage':
        # SWA is mmengine's averaged model with another rule.
        hook['interval'] = 1
    train(detector, tmp_path, hook)
    saved = torch.load(tmp_path / 'iter_2.pth', weights_only=False)
    # The averages are what is tested, the last weights lie beside them.
    averaged, last = saved['state_dict'], saved['ema_state_dict']
    assert all(f'module.{key}' in last for key in averaged)
    weights = [key for key in averaged if key.endswith('conv.weight')]
    assert any(not torch.equal(averaged[k], last[f'module.{k}']) for k in weights)
    build_model(detector.read(), checkpoint=str(tmp_path / 'iter_2.pth'))


@pytest.mark.parametrize('kind', ['detector', 'segmenter', 'classifier'])
def test_mirrored_pictures_too(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door: Door = request.getfixturevalue(kind)
    figures: list[dict] = []
    test = Runner.test

    def note(runner: Runner) -> dict:
        assert isinstance(runner.model, BaseTTAModel)
        figures.append(test(runner))
        return figures[-1]

    monkeypatch.setattr(Runner, 'test', note)
    args = [door.config, door.checkpoint, '--tta', '--work-dir', tmp_path]
    door.run('test.py', *args)
    assert run_tool('test.py', *args) == 0
    assert figures[0] == figures[1] != {}


def test_new_style_configs(detector: Door, tmp_path: Path) -> None:
    path = tmp_path / 'base_of_it.py'
    path.write_text(
        'from mmdet.models import DetDataPreprocessor, SingleStageDetector\n'
        'from mmnv3.models import (\n'
        '    MobileNetV3, SSDLiteAnchorGenerator, SSDLiteHead, SSDLiteNeck)\n'
        'model = dict(\n'
        '    type=SingleStageDetector,\n'
        '    data_preprocessor=dict(type=DetDataPreprocessor),\n'
        '    backbone=dict(\n'
        "        type=MobileNetV3, tail='detection', out_taps=('C4', 'C5')),\n"
        '    neck=dict(type=SSDLiteNeck),\n'
        '    bbox_head=dict(type=SSDLiteHead, num_classes=3,\n'
        '        anchor_generator=dict(type=SSDLiteAnchorGenerator, input_size=320)))\n'
        "default_scope = 'mmdet'\n"
    )
    child = tmp_path / 'child.py'
    child.write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n'
        '    from .base_of_it import *\n'
        f'model.bbox_head.anchor_generator.update(input_size={SIDE})\n'
    )
    model = build_model(str(child))
    assert model.bbox_head.prior_generator.input_size == (SIDE, SIDE)
    assert type(model.backbone).__name__ == 'MobileNetV3'


# --- our backbone in other models

BACKBONE = dict(type='mmnv3.MobileNetV3', arch='small')
FPN_TAPS = dict(BACKBONE, out_indices=(1, 3, 8, 12))


def network(config: Config | dict, backbone: dict, **parts: object) -> nn.Module:
    """A model of upstream with our backbone, whose channels the rest follows."""
    model = follow_backbone({**config, 'backbone': backbone, **parts})
    return MODELS.build(ConfigDict(model))


def boxes(side: int = SIDE, masks: bool = False) -> list:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    size = side, side
    truth = InstanceData(
        bboxes=torch.tensor([[10.0, 20, 60, 80]]), labels=torch.tensor([1])
    )
    if masks:
        truth.masks = BitmapMasks(np.ones((1, *size), np.uint8), *size)
    shape = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size)
    sample = DetDataSample(metainfo=dict(shape, scale_factor=(1, 1)))
    sample.gt_instances, sample.ignored_instances = (
        truth,
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long()),
    )
    return [sample, sample]


def check(model: nn.Module, samples: list) -> None:
    """Losses are finite and reach the first layer; prediction gives a result each."""
    images = torch.rand(2, 3, SIDE, SIDE)
    loss, _ = model.parse_losses(model.loss(images, samples))
    loss.backward()
    first = next(model.backbone.parameters())
    assert loss.isfinite() and first.grad.abs().sum() > 0
    with torch.no_grad():
        assert len(model.eval().predict(images, samples)) == 2


@pytest.mark.parametrize(
    'name',
    [
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        # Faster R-CNN with a mask for each box.
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_detectors_of_mmdet(name: str) -> None:
    import mmdet

    config = Path(mmdet.__file__).parent / '.mim/configs' / name
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = network(Config.fromfile(config).model, FPN_TAPS)
    check(model, boxes(masks='mask' in name))


@pytest.mark.parametrize('head', ['DepthwiseSeparableASPPHead', 'UPerHead'])
def test_segmenters_of_mmseg(head: str) -> None:
    from mmseg.structures import SegDataSample

    common = dict(channels=32, num_classes=4, norm_cfg=dict(type='BN'))
    heads = {
        'DepthwiseSeparableASPPHead': (
            dict(BACKBONE, out_indices=(1, 12), output_stride=16),
            dict(
                in_channels=576,
                in_index=1,
                dilations=(1, 12, 24, 36),
                c1_in_channels=16,
                c1_channels=8,
            ),
        ),
        'UPerHead': (
            FPN_TAPS,
            dict(in_channels=(16, 24, 48, 576), in_index=(0, 1, 2, 3)),
        ),
    }
    backbone, settings = heads[head]
    size = SIDE, SIDE
    sample = SegDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, padding_size=[0, 0, 0, 0]),
        gt_sem_seg=PixelData(data=torch.randint(0, 4, (1, *size))),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = network(
            dict(type='EncoderDecoder', test_cfg=dict(mode='whole')),
            backbone,
            decode_head=dict(type=head, **common, **settings),
        )
        check(model, [sample, sample])


# --- the toolboxes' own tools


def check_published(door: Door, tool: str, folder: Path) -> None:
    """The tool that publishes a checkpoint writes one that the config takes."""
    with pytest.MonkeyPatch.context() as patch:
        # Some rename their file in a process that they do not wait for.
        # mmdet's also asks sha256sum, which has to stay.
        start = subprocess.Popen
        patch.setattr(
            subprocess,
            'Popen',
            lambda command, *args, **kwargs: (
                shutil.move(*command[1:])
                if command[0] == 'mv'
                else start(command, *args, **kwargs)
            ),
        )
        door.run(tool, door.checkpoint, folder / 'mine.pth')
    (published,) = folder.glob('mine[-_]*.pth')
    build_model(door.read(), checkpoint=str(published))


def test_tools_of_mmdet(
    detector: Door, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    detector.run('misc/print_config.py', detector.config)
    assert 'mmnv3.SSDLiteHead' in capsys.readouterr().out
    out = tmp_path / 'browsed'
    detector.run(
        'analysis_tools/browse_dataset.py', detector.config,
        '--output-dir', out, '--not-show',
    )  # fmt: skip
    assert len(list(out.glob('*.jpg'))) == 4
    predictions = tmp_path / 'found.pkl'
    detector.run(
        'test.py', detector.config, detector.checkpoint,
        '--work-dir', tmp_path, '--out', predictions,
        '--cfg-options', 'default_hooks.visualization.draw=False',
    )  # fmt: skip
    assert len(pickle.loads(predictions.read_bytes())) == 2
    detector.run(
        'analysis_tools/analyze_results.py', detector.config, predictions,
        tmp_path / 'analysed', '--topk', 1,
    )  # fmt: skip
    assert len(list(tmp_path.glob('analysed/**/*.jpg'))) == 2
    detector.run('analysis_tools/get_flops.py', detector.config, '--num-images', 1)
    assert 'Params' in capsys.readouterr().out
    check_published(detector, 'model_converters/publish_model.py', tmp_path)


def test_tools_of_mmseg(segmenter: Door, tmp_path: Path) -> None:
    out = tmp_path / 'browsed'
    segmenter.run(
        'analysis_tools/browse_dataset.py', segmenter.config,
        '--output-dir', out, '--not-show',
    )  # fmt: skip
    assert len(list(out.glob('*.jpg'))) == 4
    weights = tmp_path / 'weights.safetensors'
    save_file(read_checkpoint(segmenter.checkpoint).state, weights)
    segmenter.run(
        'test.py', segmenter.config, weights, '--work-dir', tmp_path,
        '--show-dir', tmp_path / 'shown',
    )  # fmt: skip
    assert list(tmp_path.glob('shown/**/*.png'))
    # It gives mmengine two things of which 0.10 takes one, and OneDL's both.
    try:
        segmenter.run('analysis_tools/get_flops.py', segmenter.config)
    except ValueError as error:
        assert 'cannot be both set' in str(error)
    check_published(segmenter, 'misc/publish_model.py', tmp_path)


def test_tools_of_mmpretrain(
    classifier: Door, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    classifier.run(
        'misc/verify_dataset.py', classifier.config, '--out-path', tmp_path / 'broken'
    )
    assert 'There is no broken file' in capsys.readouterr().out
    out = tmp_path / 'browsed'
    classifier.run(
        'visualization/browse_dataset.py', classifier.config,
        '--output-dir', out, '--not-show', '--mode', 'original',
    )  # fmt: skip
    assert len(list(out.glob('**/*.jpg'))) == 4
    capsys.readouterr()
    classifier.run(
        'visualization/vis_scheduler.py', classifier.config, '--not-show',
        '--save-path', tmp_path / 'rate.png', '--dataset-size', 1280,
        '--cfg-options', 'train_cfg.max_epochs=1',
    )  # fmt: skip
    assert (tmp_path / 'rate.png').is_file()
    classifier.run(
        'analysis_tools/get_flops.py', classifier.config, '--shape', SIDE, SIDE
    )
    assert 'Params' in capsys.readouterr().out
    check_published(classifier, 'model_converters/publish_model.py', tmp_path)


def test_features_for_tsne(classifier: Door, tmp_path: Path) -> None:
    args = (
        'visualization/vis_tsne.py', classifier.config, '--work-dir', tmp_path,
        '--checkpoint', classifier.checkpoint, '--device', 'cpu', '--perplexity', 2,
    )  # fmt: skip
    # scikit-learn 1.7 took the argument away by which the tool then draws.
    try:
        classifier.run(*args)
    except TypeError as error:
        assert 'n_iter' in str(error)
    (features,) = tmp_path.glob('tsne_*/feat_*.npy')
    assert features.stem == 'feat_6' and np.load(features).shape == (4, 576)
