"""The authors' files by name, from a local server."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmnv3.convert.pretrained import ForeignPretrained
from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import read_checkpoint
from mmnv3.engine.config import read_config
from mmnv3.engine.hooks import checkpoint_fit_hook
from mmnv3.engine.launch import build_runner
from mmnv3.engine.zoo import ADDRESS, PUBLISHED, local_file
from mmnv3.errors import UserError
from tests.convert.test_frozen_graph import PIPELINE, Sample, write_archive, write_graph
from tests.server import serve
from tests.tools import run_tool

DETECTOR = 'ssd_mobilenet_v3_small_coco_2020_01_14'
CLASSIFIER = 'v3-small-minimalistic_224_1.0_float'
CONFIG = 'configs/ssdlite_mnv3_small_coco_google.py'


def write_published(folder: Path, name: str, sample: Sample) -> Path:
    graph = write_graph(sample.variables).SerializeToString()
    members = {f'{name}/frozen_inference_graph.pb': graph}
    if name == DETECTOR:
        members[f'{name}/pipeline.config'] = PIPELINE.encode()
    return write_archive(folder / PUBLISHED[name].url.rpartition('/')[2], members)


@pytest.fixture(scope='module')
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Files with random weights, named as the authors' are, and their address."""
    folder = tmp_path_factory.mktemp('published')
    for name, kind in ((DETECTOR, 'detector'), (CLASSIFIER, 'classifier')):
        write_published(folder, name, Sample(kind, 0.01))
    with serve(folder) as host:
        yield folder, host


@pytest.fixture
def zoo(published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Lets the addresses lead to this machine, and returns the folder of the cache."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    for name in (DETECTOR, CLASSIFIER):
        lead_to(f'{published[1]}/{Path(PUBLISHED[name].url).name}', name, monkeypatch)
    return tmp_path / 'cache' / 'hub' / 'checkpoints'


def lead_to(url: str, name: str, monkeypatch, sha256: str | None = None) -> None:
    row = replace(PUBLISHED[name], url=url, sha256=sha256)
    monkeypatch.setitem(PUBLISHED, name, row)


def test_the_table_names_files_and_configs() -> None:
    for name, row in PUBLISHED.items():
        assert row.url.startswith('https://') and f'/{name}.t' in row.url
        assert Path('configs', row.config).is_file()
    page = Path('docs/google_networks.md').read_text(encoding='utf-8')
    for name, row in PUBLISHED.items():
        assert f'| `{name}` | {row.holds} | {row.figure} | `{row.config}` |' in page


def test_what_is_downloaded_stays_and_is_known_again(
    published, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(local_file(ADDRESS + CLASSIFIER))
    note = file.with_name(f'{file.name}.sha256')
    assert set(zoo.iterdir()) == {file, note}
    # Nothing is fetched again.
    url = PUBLISHED[CLASSIFIER].url
    lead_to(f'http://127.0.0.1:9/{file.name}', CLASSIFIER, monkeypatch)
    assert local_file(ADDRESS + CLASSIFIER) == str(file)
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(UserError, match='is not what was published: its SHA-256 is'):
        local_file(ADDRESS + CLASSIFIER)
    # The same place gives something else later.
    file.unlink()
    lead_to(url, CLASSIFIER, monkeypatch)
    note.write_text('0' * 64)
    with pytest.raises(
        UserError, match=r'and not 0000.* was not kept; .* remove \S+256'
    ):
        local_file(ADDRESS + CLASSIFIER)
    assert set(zoo.iterdir()) == {note}


def test_what_is_not_what_was_published_is_not_kept(
    published, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, host = published
    with pytest.raises(UserError, match=f'known are ssd_mobilenet.*{CLASSIFIER}'):
        local_file(f'{ADDRESS}resnet50')
    lead_to(PUBLISHED[CLASSIFIER].url, CLASSIFIER, monkeypatch, sha256='1' * 64)
    with pytest.raises(
        UserError, match=r'SHA-256 \w{64} and not 1{64}; it was not kept$'
    ):
        read_checkpoint(ADDRESS + CLASSIFIER)
    whole = (folder / Path(PUBLISHED[CLASSIFIER].url).name).read_bytes()
    (folder / 'half.tgz').write_bytes(whole[: len(whole) // 2])
    lead_to(f'{host}/half.tgz', CLASSIFIER, monkeypatch)
    with pytest.raises(UserError, match='a file that is not whole'):
        read_checkpoint(ADDRESS + CLASSIFIER)
    lead_to('http://127.0.0.1:9/a.tgz', CLASSIFIER, monkeypatch)
    with pytest.raises(UserError, match=r'cannot be fetched .*download it where'):
        read_checkpoint(ADDRESS + CLASSIFIER)
    lead_to(f'{host}/absent.tgz', CLASSIFIER, monkeypatch)
    with pytest.raises(UserError, match=r'cannot be fetched .* 404'):
        read_checkpoint(ADDRESS + CLASSIFIER)
    assert not list(zoo.iterdir())


@pytest.mark.usefixtures('zoo')
def test_a_detector_predicts_and_converts_by_its_name(tmp_path: Path, capsys) -> None:
    out, config = tmp_path / 'out.pth', tmp_path / 'fitting.py'
    address = ADDRESS + DETECTOR
    assert not run_tool(
        'convert_checkpoint.py', address, '--from', 'tensorflow', '--classes', '80',
        '--out', out, '--config-out', config,
    )  # fmt: skip
    # Of the pipeline.config in the archive.
    assert build_model(str(config), None, str(out)).test_cfg.score_thr == 0.05
    picture = tmp_path / 'a.png'
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    cv2.imwrite(str(picture), cv2.resize(noise, (160, 120)))
    found = []
    for checkpoint in (address, out):
        status = run_tool(
            'predict.py', CONFIG, picture, '--json', tmp_path / 'found.json',
            '--score-thr', '0', '--checkpoint', checkpoint,
        )  # fmt: skip
        assert status == 0, capsys.readouterr().err
        found.append(json.loads((tmp_path / 'found.json').read_text()))
    assert found[0] == found[1] and str(found[0]).count("'box'") == 100


@pytest.mark.usefixtures('zoo')
def test_a_backbone_starts_from_a_classifier_by_its_name() -> None:
    sample = Sample('classifier', 0.01)
    model = build_model('configs/mnv3_small_minimalistic_imagenet.py')
    ForeignPretrained(ADDRESS + CLASSIFIER)(model.backbone)
    for key, value in model.backbone.state_dict().items():
        if not key.endswith('tracked'):
            assert torch.equal(value, sample.state[f'backbone.{key}']), key


@pytest.mark.usefixtures('zoo')
def test_a_training_starts_from_a_detector_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits is taken, and an iteration later is another."""
    write_demo_data(tmp_path / 'demo', DemoSpec(train=2, val=2, size=128))
    root = f'{tmp_path}/demo/'
    options = {
        'load_from': ADDRESS + DETECTOR,
        'model.backbone.gate': 'hsigmoid_tf',
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset.data_root': root,
        'val_dataloader.dataset.data_root': root,
        'val_evaluator.ann_file': f'{root}annotations/instances_val.json',
        'train_cfg.max_iters': 1,
        'train_cfg.val_begin': 9,
    }
    config = read_config('configs/ssdlite_mnv3_small_demo.py', options)
    config.work_dir, config.launcher = str(tmp_path / 'work'), 'none'
    logged: list[str] = []
    monkeypatch.setattr(
        checkpoint_fit_hook, 'print_log', lambda text, **_: logged.append(text)
    )
    runner = build_runner(config)
    before: dict[str, torch.Tensor] = {}
    step = runner.train_loop.run_iter

    def keep_and_step(*args: object) -> None:
        before.update(copy.deepcopy(runner.model.state_dict()))
        step(*args)

    runner.train_loop.run_iter = keep_and_step
    runner.train()
    (line,) = (text for text in logged if 'fits in part' in text)
    anew = [f'bbox_head.cls_convs.{level}.1' for level in range(6)]
    assert line.endswith(f'these keep their initialisation: {", ".join(anew)}')
    given = Sample('detector', 0.01).state
    for key, value in before.items():
        if key.rpartition('.')[0] not in anew and not key.endswith('tracked'):
            assert torch.equal(value, given[key]), key
    after = runner.model.state_dict()
    for key in ('backbone.stem.conv', 'bbox_head.cls_convs.0.1'):
        assert not torch.equal(before[f'{key}.weight'], after[f'{key}.weight'])
