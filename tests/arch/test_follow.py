"""What follows from a backbone."""

import types
from pathlib import Path

import pytest
from mmengine.config import Config

from mmnv3.arch import Network, backbone_taps, follow_backbone, get_spec
from mmnv3.errors import UserError
from tests.networks import edited_small

CONFIGS = sorted(Path('configs').glob('*.py'))

DETECTOR = dict(
    backbone=dict(tail='detection', out_taps=('C4', 'C5')),
    neck=dict(type='mmnv3.SSDLiteNeck'),
    bbox_head=dict(type='mmnv3.SSDLiteHead', num_classes=3),
)
SEGMENTER = dict(
    backbone=dict(
        tail='segmentation', output_stride=16, out_taps=('block6.depthwise', 'C5')
    ),
    decode_head=dict(type='mmnv3.LRASPPHead'),
    auxiliary_head=[dict(type='FCNHead', in_channels=1, in_index=0)],
)
CLASSIFIER = dict(
    backbone=dict(type='mmnv3.MobileNetV3'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='mmnv3.MobileNetV3ClsHead', num_classes=5, loss=dict(a=1)),
)


def test_a_detectors_levels_follow() -> None:
    model = follow_backbone(DETECTOR)
    assert model['neck']['in_channels'] == (672, 480)
    assert model['bbox_head'] == dict(
        type='mmnv3.SSDLiteHead',
        num_classes=3,
        in_channels=(672, 480, 512, 256, 256, 128),
    )
    # Of 0.35 at the width of the extra levels: 179.2, 89.6 and 44.8, truncated.
    changes = follow_backbone(
        model, backbone=dict(arch='v2', width=0.35), neck=dict(width=0.35)
    )
    assert changes == dict(
        backbone=dict(arch='v2', width=0.35),
        neck=dict(width=0.35, in_channels=(192, 448)),
        bbox_head=dict(in_channels=(192, 448, 179, 89, 89, 44)),
    )
    assert 'in_channels' not in DETECTOR['neck']


def test_the_tap_of_an_edited_network_follows() -> None:
    changes = follow_backbone(DETECTOR, backbone=dict(arch=edited_small()))
    assert changes['neck']['in_channels'] == (264, 264)


def test_a_segmenters_heads_follow() -> None:
    model = follow_backbone(SEGMENTER)
    assert model['decode_head']['in_channels'] == (120, 480)
    assert model['decode_head']['output_stride'] == 16
    assert model['auxiliary_head'][0]['in_channels'] == 120
    changes = follow_backbone(model, backbone=dict(output_stride=32))
    assert changes['decode_head'] == dict(in_channels=(120, 480), output_stride=32)


def test_a_classifiers_head_follows() -> None:
    model = follow_backbone(CLASSIFIER)
    follows = dict(in_channels=960, hidden_channels=1280, act='hswish')
    assert model['head'] == dict(CLASSIFIER['head'], **follows)
    assert model['neck'] == CLASSIFIER['neck']
    head = follow_backbone(model, backbone=dict(arch='edgetpu'))['head']
    assert head == dict(in_channels=1280, hidden_channels=None)
    head = follow_backbone(model, backbone=dict(arch='small_minimalistic'))['head']
    assert head == dict(in_channels=576, hidden_channels=1024, act='relu')


def test_what_somebody_chose_for_the_classifier_stays() -> None:
    model = follow_backbone(CLASSIFIER)
    head = follow_backbone(
        model, backbone=dict(width=0.75), head=dict(hidden_channels=64)
    )['head']
    assert head == dict(in_channels=720, hidden_channels=64, act='hswish')
    model['head']['hidden_channels'] = 64
    assert follow_backbone(model)['head']['hidden_channels'] == 64


def test_marks_of_deletion_reach_mmengine() -> None:
    loss = dict(_delete_=True, b=2)
    changes = follow_backbone(CLASSIFIER, head=dict(loss=loss))
    assert changes['head']['loss'] == loss
    plain = dict(_delete_=True, type='LinearClsHead')
    changes = follow_backbone(CLASSIFIER, head=plain)
    assert changes['head'] == dict(plain, in_channels=960)


def test_another_projects_neck_gets_its_channels_and_keeps_its_head() -> None:
    model = dict(
        DETECTOR,
        neck=dict(type='FPN', in_channels=(1, 2), out_channels=64),
        bbox_head=dict(type='RetinaHead', in_channels=64),
    )
    followed = follow_backbone(model)
    # FPN asserts that it is a list.
    assert followed['neck']['in_channels'] == [672, 480]
    assert followed['bbox_head']['in_channels'] == 64


def test_a_missing_map_is_named() -> None:
    with pytest.raises(UserError, match=r'in_index=\(0, 1\).*backbone returns 1'):
        follow_backbone(SEGMENTER, backbone=dict(out_taps=('C5',)))


@pytest.mark.parametrize(
    ('model', 'changes', 'said'),
    [
        (dict(head={}), {}, 'has no backbone to follow'),
        (DETECTOR, dict(backbone='large'), "backbone='large' is no part of a model"),
        (DETECTOR, dict(neck=dict(width='1')), "width='1' must be a positive"),
        (DETECTOR, dict(neck=dict(extra_channels=512)), 'extra_channels=512 must'),
        (DETECTOR, dict(backbone=dict(out_taps=4)), 'out_taps=4 must be a sequence'),
        (SEGMENTER, dict(decode_head=dict(in_index='0')), "in_index='0' and"),
        (SEGMENTER, dict(decode_head=dict(in_index=())), r'in_index=\(\) and'),
        (CLASSIFIER, dict(backbone=dict(width='1')), "width='1' must be a positive"),
    ],
)
def test_what_cannot_follow_is_named(model: dict, changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        follow_backbone(model, **changes)


def test_out_indices_are_taps_too() -> None:
    taps = backbone_taps(dict(arch='small', out_indices=(0, 3, -1)))
    assert [tap.name for tap in taps] == ['stem', 'block3', 'last']
    assert [tap.channels for tap in taps] == [16, 24, 576]


def test_a_network_is_read_from_a_backbones_config() -> None:
    backbone = dict(
        type='mmnv3.MobileNetV3', arch='small', width=0.75, tail='detection',
        output_stride=16, dilation='torchvision', padding='symmetric', norm_eval=True,
    )  # fmt: skip
    assert Network.of_backbone(backbone) == Network(
        get_spec('small', 0.75, 'detection'), 16, 'torchvision', 'symmetric'
    )
    assert Network.of_backbone({}) == Network(get_spec('large'))
    with pytest.raises(UserError, match='same, symmetric'):
        Network.of_backbone(dict(padding='valid'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_fit_and_can_be_written_and_read(path: Path, tmp_path: Path) -> None:
    # Laid out as people like it, a file takes a quarter of a second.
    config = Config.fromfile(path, format_python_code=False)
    assert not any(
        isinstance(value, types.FunctionType | types.ModuleType)
        for value in config.values()
    )
    config.dump(tmp_path / path.name)
    assert Config.fromfile(tmp_path / path.name).to_dict() == config.to_dict()
    if path.stem.startswith('mmseg_'):
        return
    # No part says anything else than what follows from the backbone.
    assert follow_backbone(config.model) == config.model.to_dict()
    assert 'in_channels' not in path.read_text()


def test_a_users_config_changes_the_network(tmp_path: Path) -> None:
    (tmp_path / 'mine.py').write_text(
        f"_base_ = '{Path('configs/ssdlite_mnv3_large_coco.py').resolve()}'\n\n"
        'from mmnv3.arch import follow_backbone\n\n'
        'model = follow_backbone(_base_.model, backbone=dict(width=0.5))\n'
    )
    model = Config.fromfile(tmp_path / 'mine.py').model
    assert model.backbone.arch == 'large' and model.neck.in_channels == (336, 240)
