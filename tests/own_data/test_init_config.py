"""Data to a config: written, read, built, trained on, drawn, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmnv3.engine.build import build_model
from mmnv3.engine.config import input_size, read_config
from mmnv3.errors import UserError
from mmnv3.own_data import init_config as module
from mmnv3.own_data.browse import browse
from mmnv3.own_data.init_config import Wish, init_config, measure_iteration
from tests.own_sets import (
    make_cityscapes,
    make_coco,
    make_folders,
    make_masks,
    make_voc,
    make_yolo,
)
from tests.tools import fork_tool, run_tool


def folders(root: Path) -> Path:
    return make_folders(root, {'cat': 5, 'dog': 5})


def yolo(root: Path) -> Path:
    return make_yolo(root, '1 0.5 0.5 0.25 0.5\n0 0.25 0.25 0.2 0.2\n')


# By layout: the task, who draws it, and what an annotation file is called.
SETS: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    'coco': ('detection', make_coco, 'json'),
    'voc': ('detection', make_voc, 'json'),
    'yolo': ('detection', yolo, 'json'),
    'masks': ('segmentation', make_masks, 'txt'),
    'cityscapes': ('segmentation', make_cityscapes, ''),
    'folders': ('classification', folders, 'txt'),
}


@pytest.fixture(scope='module', params=SETS)
def written(request, tmp_path_factory) -> tuple[str, Path, list[str]]:
    """The name of a layout, a config for it, and what was said."""
    task, make, _ = SETS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    out = folder / 'mine.py'
    root = folder / "it's data"
    root.mkdir()
    wish = Wish(make(root), task, out, pretrained='none')
    return request.param, out, init_config(wish, lambda path: 0.5)


def test_the_config_is_read_and_built(written) -> None:
    name, out, said = written
    config = read_config(str(out))
    assert len(out.read_text().splitlines()) < 115
    assert all(len(line) <= 88 for line in out.read_text().splitlines()[15:])
    classes = len(config.metainfo.classes)
    assert classes == len(config.metainfo.palette) == 2
    model = build_model(config)
    heads = [
        getattr(model, head, None) for head in ('bbox_head', 'decode_head', 'head')
    ]
    assert [head.num_classes for head in heads if head is not None] == [2]
    size = input_size(config)
    assert not size.width % 32 and not size.height % 32
    assert out.with_suffix('.png').stat().st_size > 10_000
    assert said[-2:] == [
        f'python -m mmnv3 train {out}',
        f'python -m mmnv3 test {out} work_dirs/mine/'
        f'{"epoch_300" if name == "folders" else "iter_300"}.pth --show-dir pictures',
    ]
    # Nothing is promised that was not measured.
    assert not any('AP' in line or 'mIoU' in line for line in said)


def test_files_beside_the_data(written) -> None:
    name, out, _ = written
    folder = out.parent / "it's data" / 'mmnv3_annotations'
    ending = SETS[name][2]
    found = sorted(path.name for path in folder.glob('*'))
    assert found == ([f'train.{ending}', f'val.{ending}'] if ending else [])
    if name == 'yolo':
        (box,) = {
            tuple(annotation['bbox'])
            for annotation in json.loads((folder / 'train.json').read_text())[
                'annotations'
            ]
            if annotation['category_id'] == 2
        }
        assert box == (15, 5, 10, 10)


def test_the_validation_data_load(written) -> None:
    _, out, _ = written
    config = read_config(str(out))
    val = {**config.val_dataloader, 'num_workers': 0, 'persistent_workers': False}
    with DefaultScope.overwrite_default_scope(config.default_scope):
        loaded = next(iter(Runner.build_dataloader(val)))
    assert len(loaded['inputs']) == len(loaded['data_samples']) > 0


@pytest.mark.parametrize('written', ['voc', 'masks', 'folders'], indirect=True)
def test_it_trains_and_validates(written, tmp_path: Path) -> None:
    """Two iterations by tools/train.py, or an epoch, and the metric of the task."""
    name, out, _ = written
    length = (
        ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
        if name == 'folders'
        else ['train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    )
    loaders = [
        f'{part}_dataloader.{setting}'
        for part in ('train', 'val')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ]
    done = fork_tool(
        'train.py', out, '--work-dir', tmp_path, '--cfg-options', *length, *loaders,
        'train_dataloader.batch_size=2',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob('best_*.pth')) and (tmp_path / 'curves.png').exists()


def test_browsing_draws_what_is_fed(written, tmp_path: Path) -> None:
    _, out, _ = written
    width, height = input_size(read_config(str(out)))
    paths = browse(str(out), tmp_path / 'drawn', 2)
    assert len(paths) == 2
    for path in paths:
        picture = cv2.imread(str(path))
        # As large as the input, and a legend below.
        assert picture.shape[1] >= width and picture.shape[0] > height


def test_the_picture_is_brought_back_from_the_networks_numbers() -> None:
    from mmnv3.own_data.browse import _to_colours

    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    given = dict(mean=[10.0, 20, 30], std=[2.0, 3, 4], bgr_to_rgb=True)
    config = Config(dict(model=dict(data_preprocessor=given)))
    normalised = (rgb - np.array([10.0, 20, 30])) / [2.0, 3, 4]
    inputs = torch.from_numpy(normalised.transpose(2, 0, 1))
    np.testing.assert_array_equal(_to_colours(inputs, config), rgb)
    config.model.data_preprocessor.bgr_to_rgb = False
    np.testing.assert_array_equal(_to_colours(inputs, config), rgb[..., ::-1])


# --- what is there already, and what is too little


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    root = make_voc(tmp_path / 'data')
    return Wish(root, 'detection', tmp_path / 'mine.py', pretrained='none')


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def changed(wish: Wish, **changes: object) -> Wish:
    return Wish(**{**vars(wish), **changes})


def test_nothing_is_overwritten_without_force(wish: Wish) -> None:
    init_config(wish, lambda path: 0.5)
    before = contents(wish.out.parent)
    with pytest.raises(UserError, match=r'mine\.py exists; overwrite it by --force'):
        init_config(wish, lambda path: 0.5)
    other = changed(wish, out=wish.out.with_name('other.py'), seed=1)
    with pytest.raises(
        UserError, match=r'train\.json is of other pictures or another --s'
    ):
        init_config(other, lambda path: 0.5)
    assert contents(wish.out.parent) == before
    # The same files need not be forced.
    init_config(changed(other, seed=0), lambda path: 0.5)
    init_config(changed(other, force=True), lambda path: 0.5)
    assert contents(wish.out.parent) != before


def test_too_short_a_time_leaves_nothing(wish: Wish) -> None:
    before = contents(wish.out.parent)
    with pytest.raises(UserError, match=r'--minutes 0\.1 is too short for one epoch'):
        init_config(changed(wish, minutes=0.1), lambda path: 60.0)
    assert contents(wish.out.parent) == before
    assert not (wish.data / 'mmnv3_annotations').exists()


def test_the_measured_config_is_the_written_one(wish: Wish) -> None:
    """But for its length, and where its annotations are."""
    seen = []

    def measure(path: Path) -> float:
        seen.append(read_config(str(path)))
        return 0.5

    init_config(wish, measure)
    (measured,), final = seen, read_config(str(wish.out))
    for key in ('model', 'optim_wrapper', 'train_pipeline'):
        assert measured[key] == final[key]
    loaders = [config.train_dataloader for config in (measured, final)]
    for loader in loaders:
        loader.dataset.pop('ann_file')
    assert loaders[0] == loaders[1]


@pytest.mark.slow  # It times a training with worker processes.
def test_an_iteration_is_measured(wish: Wish) -> None:
    init_config(wish, lambda path: 0.5)
    text = wish.out.read_text().replace('(448, 224)', '(64, 32)')
    small = wish.out.with_name('small.py')
    small.write_text(text.replace('batch_size=4', 'batch_size=2'))
    assert 0 < measure_iteration(small) < 60


# --- weights to start from


def test_given_weights_are_tried_first(wish: Wish, tmp_path: Path) -> None:
    path = tmp_path / 'small.pth'
    from torchvision.models import mobilenet_v3_small

    torch.save(mobilenet_v3_small().state_dict(), path)
    given = changed(wish, pretrained=str(path))
    said = init_config(given, lambda path: 0.5)
    assert any(f'starting from {path}' in line for line in said)
    model = read_config(str(wish.out)).model
    # As torchvision's were trained.
    assert model.backbone.padding == model.neck.padding == 'symmetric'
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.backbone.init_cfg[1].checkpoint == str(path)
    large = changed(given, network='large', force=True)
    with pytest.raises(UserError, match=r'small\.pth'):
        init_config(large, lambda path: 0.5)


def test_published_weights_are_left_where_none_are_in_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mmnv3.own_data import weights

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(weights.socket, 'create_connection', refuse)
    assert weights.find_published('small') is None
    assert weights.find_published('v2') is None
    kept = tmp_path / 'checkpoints/mobilenet_v3_small-047dcff4.pth'
    kept.parent.mkdir()
    kept.touch()
    assert weights.find_published('small') == 'torchvision://mobilenet_v3_small'


# --- the tools


def test_the_tools(wish: Wish, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(module, 'measure_iteration', lambda path: 0.5)
    monkeypatch.chdir(wish.out.parent)
    args = ['data', '--task', 'detection', '--out', 'mine.py', '--pretrained', 'none']
    assert run_tool('init_config.py', *args) == 0
    said = capsys.readouterr().out
    assert 'Pascal VOC XML: 4 pictures to train on, 1 to validate' in said
    assert run_tool('init_config.py', *args) == 2
    assert 'mine.py exists' in capsys.readouterr().err
    assert run_tool('browse.py', 'mine.py', '--number', '2') == 0
    assert '2 pictures in work_dirs/mine/browse' in capsys.readouterr().out
    assert len(list(Path('work_dirs/mine/browse').iterdir())) == 2
