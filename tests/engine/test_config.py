"""What is read from configs, and what is refused."""

import copy
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmnv3.engine.config import (
    class_colours,
    class_names,
    config_task,
    input_size,
    keep_pictures,
    normalization,
    picture_steps,
    pipeline_size,
    read_config,
)
from mmnv3.errors import UserError
from mmnv3.resizing import CenterCrop, Pad, Resize, ResizeEdge
from mmnv3.size import Size
from mmnv3.tasks import DETECTION
from tests.conftest import ROOT

CLASSIFIER = {'head': {}}
SEGMENTER = {'decode_head': {}}
DETECTOR = {'bbox_head': {}}


def config_of(*steps: dict, model: dict = CLASSIFIER, **settings) -> Config:
    """A config that tests pictures by some steps."""
    load = dict(type='LoadImageFromFile')
    pipeline = [load, *steps, dict(type='PackInputs')]
    loader = dict(dataset=dict(pipeline=pipeline))
    return Config(
        dict(model={**model, **settings}, test_dataloader=loader), filename=__file__
    )


@pytest.mark.parametrize(
    ('name', 'task', 'size'),
    [
        ('ssdlite_mnv3_small_coco', 'detection', (320, 320)),
        ('ssdlite_mnv3_small_bccd', 'detection', (480, 360)),
        ('mnv3_small_imagenet', 'classification', (224, 224)),
        ('lraspp_mnv3_small_cityscapes', 'segmentation', None),
        ('lraspp_mnv3_small_demo', 'segmentation', None),
    ],
)
def test_tasks_and_sizes_of_our_configs(name, task, size) -> None:
    config = read_config(f'{ROOT}/configs/{name}.py')
    assert config_task(config) == task and pipeline_size(config) == size
    if size:
        assert input_size(config) == size
    else:
        with pytest.raises(UserError, match=f'{name}.*say one with --size WIDTH HEI'):
            input_size(config)
    asked = input_size(config, (200, 100))
    assert asked == (200, 100) and isinstance(asked, Size)


def test_anchors_come_before_the_pipeline() -> None:
    config = read_config(
        f'{ROOT}/configs/ssdlite_mnv3_small_coco.py',
        {'model.bbox_head.anchor_generator.input_size': (193, 128)},
    )
    assert input_size(config) == (193, 128) and pipeline_size(config) == (320, 320)


def test_a_classifier_without_a_pipeline_takes_224() -> None:
    assert input_size(config_of()) == (224, 224)
    with pytest.raises(UserError, match='sizes of their own'):
        input_size(config_of(model=SEGMENTER))


def test_no_size_is_told() -> None:
    for size in ((0, 5), (-1, 4), (1, 2, 3)):
        with pytest.raises(UserError, match=r'--size=.* is no size'):
            input_size(config_of(), size)


RESIZE = dict(type='Resize', scale=(64, 48), keep_ratio=False)
KEEP = {**RESIZE, 'keep_ratio': True}
EDGE = dict(type='ResizeEdge', scale=100, interpolation='bicubic', backend='pillow')
CROP = dict(type='CenterCrop', crop_size=80)
PAD = dict(type='Pad', size=(64, 48), pad_val=dict(img=(1, 2, 3)))


def test_steps_are_those_of_the_pipeline() -> None:
    for steps, found in (
        ([RESIZE], (Resize(Size(64, 48)),)),
        (
            [EDGE, CROP],
            (ResizeEdge(100, 'short', 'bicubic', 'pillow'), CenterCrop(Size(80, 80))),
        ),
        ([KEEP, PAD], (Resize(Size(64, 48), True), Pad(Size(64, 48), value=(1, 2, 3)))),
        ([dict(type='RandomFlip', prob=0.0)], ()),
    ):
        assert picture_steps(config_of(*steps)) == found
        same = pipeline_size(config_of(*steps))
        assert picture_steps(config_of(*steps), same) == found
    wide = dict(type='RepeatDataset', dataset=dict(pipeline=[RESIZE]))
    repeated = Config(dict(model=CLASSIFIER, test_dataloader=dict(dataset=wide)))
    assert pipeline_size(repeated) == (64, 48)


def test_pictures_are_kept_in_wrapped_data_sets_too() -> None:
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
    resized = dict(pipeline=[load, RESIZE, pack])
    cropped = dict(pipeline=[load, CROP, pack])
    for parts, does_resize in (([cropped], False), ([cropped, resized], True)):
        joined = dict(type='ConcatDataset', datasets=copy.deepcopy(parts))
        repeated = dict(type='RepeatDataset', dataset=joined, times=2)
        config = Config(dict(model=CLASSIFIER, test_dataloader=dict(dataset=repeated)))
        assert keep_pictures(config) is does_resize
        kept = config.test_dataloader.dataset.dataset.datasets
        assert [part.pipeline for part in kept] == [[load, pack]] * len(parts)
    with pytest.raises(UserError, match='Mosaic'):
        keep_pictures(config_of(dict(type='Mosaic')))


def test_normalised_pictures_are_padded_as_the_preprocessor_does() -> None:
    given = dict(test_cfg=dict(size=(48, 64)), pad_val=7)
    config = config_of(model=SEGMENTER, data_preprocessor=given)
    padded = Pad(Size(64, 48), value=(7, 7, 7), normalized=True)
    assert picture_steps(config) == (padded,) and input_size(config) == (64, 48)
    given = dict(pad_size_divisor=32)
    config = config_of(KEEP, data_preprocessor=given)
    assert picture_steps(config)[1] == Pad(divisor=32, normalized=True)
    assert pipeline_size(config) is None
    # Nothing is added to what is a multiple already.
    config = config_of(RESIZE, data_preprocessor=dict(pad_size_divisor=16))
    assert picture_steps(config) == (Resize(Size(64, 48)),)


def test_another_size_than_the_configs() -> None:
    asked = Size(32, 24)
    for steps, found in (
        ([RESIZE], (Resize(asked),)),
        ([EDGE, CROP], (picture_steps(config_of(EDGE))[0], CenterCrop(asked))),
        ([], ()),
        # More than the edge leaves.
        ([dict(EDGE, scale=16), dict(CROP, crop_size=8)], (Resize(asked),)),
    ):
        assert picture_steps(config_of(*steps), asked) == found
    letterbox = {**KEEP, 'scale': 64}, {**PAD, 'size': (64, 64)}
    found = picture_steps(config_of(*letterbox), (32, 32))
    assert found == (Resize(Size(32, 32), True), Pad(Size(32, 32), value=(1, 2, 3)))
    # A picture that is higher than wide gets 48x64, so that 64x48 is not everybody's.
    assert pipeline_size(config_of(KEEP, PAD)) is None


def load(**settings: object) -> dict:
    return dict(type='LoadImageFromFile', **settings)


@pytest.mark.parametrize(
    ('steps', 'model', 'size', 'message'),
    [
        (
            [dict(type='ResizeToMultiple', size_divisor=8)],
            {},
            None,
            'size_divisor=8',
        ),
        (
            [dict(type='mmcv.Normalize', mean=0)],
            {},
            None,
            r'Normalize\(mean=0',
        ),
        (
            [dict(type='Resize', scale_factor=0.5)],
            {},
            None,
            'scale_factor=0.5',
        ),
        ([{**RESIZE, 'backend': 'tf'}], {}, None, r'Resize\('),
        ([{**PAD, 'padding_mode': 'edge'}], {}, None, "padding_mode='edge'"),
        ([load(to_float32=True)], {}, None, 'to_float32=True'),
        ([load(imdecode_backend='pillow')], {}, None, "imdecode_backend='pillow'"),
        ([dict(type='RandomFlip', prob=0.5)], {}, None, 'RandomFlip'),
        ([PAD], SEGMENTER, None, 'or pad with data_preprocessor.test_cfg'),
        ([EDGE, CROP], DETECTOR, None, 'not undone in the results of detection'),
        ([RESIZE], DETECTOR, None, 'pad_size_divisor=32 would pad pictures of 64x48'),
        ([KEEP], SEGMENTER, (60, 40), r'keep_ratio=True\) makes no picture 60x40'),
        ([{**KEEP, 'scale': (64, 64)}, PAD], {}, (32, 32), 'makes no picture 32x32'),
    ],
)
def test_what_cannot_be_done_alike_is_refused(steps, model, size, message) -> None:
    settings = dict(pad_size_divisor=32) if model is DETECTOR else {}
    config = config_of(*steps, model=model or CLASSIFIER, data_preprocessor=settings)
    with pytest.raises(UserError, match=message) as error:
        picture_steps(config, size)
    assert '\n' not in str(error.value) and __file__ in str(error.value)


def test_how_pixels_are_normalised() -> None:
    given = dict(mean=[1, 2, 3], std=[4, 5, 6])
    for swap, order in (
        ('bgr_to_rgb', 'rgb'),
        ('rgb_to_bgr', 'rgb'),
        ('to_rgb', 'rgb'),
        ('x', 'bgr'),
    ):
        found = normalization(config_of(data_preprocessor={**given, swap: True}))
        assert found == ((1, 2, 3), (4, 5, 6), order)
    beside = Config(dict(model=CLASSIFIER, data_preprocessor=given))
    assert normalization(beside).mean == (1, 2, 3)
    assert normalization(config_of()) == ((0, 0, 0), (1, 1, 1), 'bgr')


def test_names_and_colours_of_classes() -> None:
    coco = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_coco.py')
    assert class_names(coco, 80)[:2] == ('person', 'bicycle')
    assert class_names(coco, 2, dict(classes=('a', 'b'))) == ('a', 'b')
    assert class_names(coco, 3, dict(classes=('a', 'b'))) == ('0', '1', '2')
    demo = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    assert class_names(demo, 6)[:2] == ('disc', 'ring')
    street = read_config(f'{ROOT}/configs/lraspp_mnv3_small_cityscapes.py')
    assert class_names(street, 19)[:2] == ('road', 'sidewalk')
    assert class_colours(street, 19)[0] == (128, 64, 128)
    photos = read_config(f'{ROOT}/configs/mnv3_small_imagenet.py')
    assert re.match('tench', class_names(photos, 1000)[0])
    assert class_names(Config(dict()), 2) == ('0', '1')
    assert class_colours(Config(dict()), 2) == ()


LAZY = (
    'from mmengine.config import read_base\nwith read_base():\n    from .{} import *\n'
)
# The text of a config, and what is said of it.
WRONG = {
    'empty.py': ('', 'empty.py describes no model'),
    'number.py': ('model = 3', 'number.py describes no model'),
    'itself.py': (
        "_base_ = 'itself.py'",
        'itself.py: its bases lead back to itself.py',
    ),
    'lazy.py': (LAZY.format('lazy'), 'lazy.py: its bases lead back to lazy.py'),
    'open.py': ('x = 1\ny = (\n', r"open.py, line 2: '\(' was never closed"),
    'ends.py': ('x = 1\nreturn\n', "ends.py, line 2: 'return' outside function"),
    'leaves.py': ('x = 1\nraise SystemExit(3)\n', 'leaves.py, line 2: SystemExit: 3'),
    'name.py': ('x = 1\ny = z\n', "name.py, line 2: NameError: name 'z' is not"),
    'base.py': ("x = 1\n_base_ = 'name.py'", 'name.py, line 2: NameError'),
    'gone.py': ("_base_ = 'nothing.py'", 'nothing.py: FileNotFoundError: .*No such'),
    'lazy_gone.py': (
        LAZY.format('no'),
        'lazy_gone.py: ConfigParsingError: .*no.py not found',
    ),
    'latin.py': (
        'x = 1\ny = "\xe9"'.encode('latin-1'),
        'latin.py, line 2: it is not U',
    ),
    'bytes.py': (bytes(3), 'bytes.py: source code string cannot contain null bytes'),
    'list.json': ('[1, 2]', 'list.json: AttributeError'),
    'half.json': ('{"model":\n', 'half.json, line 2: JSONDecodeError'),
    'half.yaml': ('model: [', 'half.yaml: ParserError'),
    'words.txt': ('model', 'words.txt: configs end in .py, .yaml, .yml, .json'),
}


@pytest.mark.parametrize('name', WRONG)
def test_configs_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    for each in {name, 'name.py'}:
        text = WRONG[each][0]
        text = text if isinstance(text, bytes) else text.encode()
        (tmp_path / each).write_bytes(text)
    with pytest.raises(UserError, match=WRONG[name][1]) as refused:
        read_config(str(tmp_path / name))
    assert len(str(refused.value).splitlines()) == 1


def test_a_config_is_written_without_a_formatter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    # OneDL's mmengine asks yapf for it when it is needed.
    monkeypatch.setattr('mmengine.config.config.FormatCode', None, raising=False)
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', None)
    # A Runner's copy, and a file of it that can be read again.
    copy.deepcopy(config).dump(tmp_path / 'written.py')
    assert read_config(str(tmp_path / 'written.py')).to_dict() == config.to_dict()


def test_what_is_no_config_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / 'gone.py', ''):
        with pytest.raises(UserError, match='there is no such config file'):
            read_config(str(path))


def test_settings_that_a_config_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / 'a.py'
    path.write_text("model = dict(type='Net', neck=dict(width=1))")
    for setting, said in (
        ({'model.neck.width.left': 1}, 'setting model.neck.width.left=1: TypeError'),
        ({'model': 3}, 'describes no model'),
    ):
        with pytest.raises(UserError, match=said):
            read_config(str(path), setting)
    assert read_config(str(path), {'model.neck': 3}).model.neck == 3


CONFIGS = sorted(Path(ROOT, 'configs').glob('*.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_augmentation_in_testing_is_the_test_pipeline_and_its_mirror_image(
    path: Path,
) -> None:
    config = read_config(str(path))
    plain = [dict(step) for step in config.test_dataloader.dataset.pipeline]
    *steps, augment = config.tta_pipeline
    assert augment.type == 'TestTimeAug'
    flips, (pack,) = augment.transforms
    assert [flip.prob for flip in flips] == [0, 1]
    assert [dict(step) for step in steps] == plain[:-1]
    assert pack.type == plain[-1]['type']
    if 'meta_keys' in pack:
        # Where a picture's boxes are turned back, it must be known that they were.
        wanted = (*plain[-1]['meta_keys'], 'flip', 'flip_direction')
        assert tuple(pack.meta_keys) == wanted
    if config_task(config) == DETECTION:
        own = config.model.test_cfg
        assert config.tta_model.tta_cfg == dict(
            nms=own.nms, max_per_img=own.max_per_img
        )


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_rate_says_for_which_batch_it_is(path: Path) -> None:
    """So that every toolbox's --auto-scale-lr has something to scale from."""
    config = read_config(str(path))
    batch = config.auto_scale_lr.base_batch_size
    assert config.auto_scale_lr.enable or batch == config.train_dataloader.batch_size
