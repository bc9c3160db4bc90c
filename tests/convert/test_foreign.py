"""Published checkpoints of others where ours are expected, from a local server."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import timm
import torch
from mmengine.runner import BaseLoop, CheckpointLoader
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights

from mmnv3.convert import to_ours
from mmnv3.convert.foreign import convert_for
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import read_checkpoint, write_checkpoint
from mmnv3.engine.hooks import checkpoint_fit_hook
from mmnv3.engine.hooks.checkpoint_fit_hook import CheckpointFitHook
from mmnv3.errors import Remark, UserError
from tests.convert.test_frozen_graph import Sample, write_graph
from tests.server import serve
from tests.tools import run_tool

DETECTOR = 'ssdlite320_mobilenet_v3_large'
DETECTOR_CONFIG = 'configs/ssdlite_mnv3_large_coco_tv.py'
SEGMENTER = 'lraspp_mobilenet_v3_large'
SEGMENTER_CONFIG = 'configs/lraspp_mnv3_large_voc_tv.py'


def random_model(name: str, classes: int) -> nn.Module:
    torch.manual_seed(0)
    model = models.get_model(
        name, weights=None, weights_backbone=None, num_classes=classes
    )
    return model.eval()


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Random weights of torchvision's networks behind addresses of this machine."""
    folder = tmp_path_factory.mktemp('published')
    for name, classes in ((DETECTOR, 91), (SEGMENTER, 21)):
        torch.save(random_model(name, classes).state_dict(), folder / f'{name}.pth')

    with serve(folder) as host:
        yield {name: f'{host}/{name}.pth' for name in (DETECTOR, SEGMENTER)}


@pytest.fixture
def torchvision_here(published, monkeypatch, tmp_path: Path) -> None:
    """Lets torchvision's addresses lead to this machine."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    for name, weights in (
        (DETECTOR, SSDLite320_MobileNet_V3_Large_Weights.COCO_V1),
        (SEGMENTER, LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1),
    ):
        monkeypatch.setattr(weights.value, 'url', published[name])


@pytest.mark.usefixtures('torchvision_here')
def test_torchvisions_detector_predicts_by_its_address(tmp_path, capsys) -> None:
    picture = tmp_path / 'a.png'
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    cv2.imwrite(str(picture), cv2.resize(noise, (160, 120)))
    # The converter itself is compared with torchvision in test_parity.py.
    converted = tmp_path / 'converted.pth'
    state = random_model(DETECTOR, 91).state_dict()
    write_checkpoint(converted, to_ours(state, 'torchvision', 80).state)
    found = []
    for checkpoint in (f'torchvision://{DETECTOR}', converted):
        out = tmp_path / 'found.json'
        status = run_tool(
            'predict.py', DETECTOR_CONFIG, picture, '--json', out,
            '--score-thr', '0', '--checkpoint', checkpoint,
        )  # fmt: skip
        assert status == 0, capsys.readouterr().err
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1] and len(found[0]) == 1


@pytest.mark.usefixtures('torchvision_here')
def test_its_segmenter_is_converted_with_its_classes() -> None:
    segmenter = build_model(SEGMENTER_CONFIG, checkpoint=f'torchvision://{SEGMENTER}')
    theirs = random_model(SEGMENTER, 21)
    x = torch.randn(1, 3, 97, 65)
    with torch.no_grad():
        logits = theirs(x)['out']
        ours = segmenter.decode_head(segmenter.extract_feat(x))
        ours = nn.functional.interpolate(ours, x.shape[-2:], mode='bilinear')
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=1e-4)
    # The middle one is torchvision's own name of it.
    named = read_checkpoint(f'torchvision://{SEGMENTER}.coco_with_voc_labels_v1')
    assert named.state.keys() == theirs.state_dict().keys()


@pytest.mark.usefixtures('torchvision_here')
def test_unknown_weights_and_no_network_are_a_line(monkeypatch) -> None:
    with pytest.raises(UserError, match=r'no such weights; possible: \S+coco_v1'):
        read_checkpoint(f'torchvision://{DETECTOR}.v9')
    closed = 'http://127.0.0.1:9/a.pth'
    weights = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1
    monkeypatch.setattr(weights.value, 'url', closed)
    with pytest.raises(UserError, match=r'cannot be fetched .*download it where'):
        read_checkpoint(f'torchvision://{DETECTOR}')
    with pytest.raises(UserError, match='timm publishes no such weights'):
        read_checkpoint('timm://mobilenetv3_large_9000')


def test_timms_classifier_by_its_address(monkeypatch) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model('mobilenetv3_large_100').eval()

    def create(name: str, pretrained: bool) -> nn.Module:
        assert name == 'mobilenetv3_large_100' and pretrained
        return theirs

    monkeypatch.setattr(timm, 'create_model', create)
    address = 'timm://mobilenetv3_large_100'
    ours = build_model('configs/mnv3_large_imagenet_timm.py', checkpoint=address)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    with pytest.warns(Remark, match='trained with eps=1e-05'):
        build_model('configs/mnv3_large_imagenet_tv.py', checkpoint=address)


def start_from(model: nn.Module, checkpoint: dict, trains: bool) -> None:
    """What a Runner does before it loads a checkpoint."""
    loop = object.__new__(type('Loop', (BaseLoop,), {'run': None})) if trains else None
    runner = SimpleNamespace(
        model=model, _load_from='theirs.pth', _train_loop=loop, _resume=False
    )
    CheckpointFitHook().after_load_checkpoint(runner, checkpoint)


@pytest.mark.usefixtures('torchvision_here')
def test_training_starts_from_a_whole_foreign_detector(monkeypatch) -> None:
    """All layers are taken but those that tell other classes apart."""
    options = {'model.bbox_head.num_classes': 3}
    model = build_model(DETECTOR_CONFIG, options)
    given = random_model(DETECTOR, 91).state_dict()
    # As a Runner fetches and loads it.
    checkpoint = CheckpointLoader.load_checkpoint(f'torchvision://{DETECTOR}', 'cpu')
    logged: list[str] = []
    monkeypatch.setattr(
        checkpoint_fit_hook, 'print_log', lambda text, **_: logged.append(text)
    )
    start_from(model, checkpoint, trains=True)
    names = ', '.join(f'bbox_head.cls_convs.{level}.1' for level in range(6))
    assert f'these keep their initialisation: {names}' in logged[-1]
    taken = checkpoint['state_dict']
    wanted = model.state_dict()
    fits = {key for key in wanted if taken[key].shape == wanted[key].shape}
    anew = {key.rpartition('.')[0] for key in set(wanted) - fits}
    assert anew == {f'bbox_head.cls_convs.{level}.1' for level in range(6)}
    key = 'bbox_head.reg_convs.0.1.weight'
    theirs = given['head.regression_head.module_list.0.1.weight']
    assert torch.equal(taken[key], theirs)
    with pytest.raises(UserError, match='91 outputs, 3 classes are wanted'):
        start_from(model, dict(given), trains=False)


def test_nothing_is_made_of_what_nobody_knows() -> None:
    model = build_model(DETECTOR_CONFIG)
    assert convert_for(model, {'a.weight': torch.ones(1)}, 'a.pth') is None
    assert convert_for(nn.Identity(), {'conv_stem.weight': torch.ones(1)}, 'a') is None


def test_graphs_and_safetensors_are_read_where_ours_are(tmp_path: Path) -> None:
    sample = Sample('classifier', 0.01)
    graph, plain = tmp_path / 'graph.pb', tmp_path / 'plain.safetensors'
    graph.write_bytes(write_graph(sample.variables).SerializeToString())
    save_file(sample.state, plain)
    options = {'model.head.num_classes': 1001, 'model.backbone.gate': 'hsigmoid_tf'}
    for path in (graph, plain):
        config = 'configs/mnv3_small_minimalistic_imagenet.py'
        for key, value in build_model(config, options, str(path)).state_dict().items():
            if not key.endswith('tracked'):
                assert torch.equal(value, sample.state[key]), key
        # As a Runner reads it.
        given = CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')
        assert given.keys() == read_checkpoint(path).state.keys()
    graph.write_bytes(graph.read_bytes()[:-100])
    with pytest.raises(UserError, match=r'graph\.pb is no frozen graph'):
        build_model(config, options, str(graph))


def test_a_segmenter_of_tensorflow_wants_its_head(tmp_path: Path) -> None:
    graph = tmp_path / 'graph.pb'
    variables = Sample('segmenter', 0.01).variables
    graph.write_bytes(write_graph(variables).SerializeToString())
    with warnings.catch_warnings():
        warnings.simplefilter('error', Remark)
        google = 'configs/lraspp_mnv3_small_cityscapes_google.py'
        build_model(google, checkpoint=str(graph))
    with pytest.warns(Remark, match='and another window in decode_head'):
        build_model('configs/lraspp_mnv3_small_cityscapes.py', checkpoint=str(graph))
