"""The Python of the README runs, and what its commands name exists."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmnv3.deploy.export import export_config
from mmnv3.models import MobileNetV3
from mmnv3.registry import MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


@pytest.mark.parametrize('code', BLOCKS)
def test_python_blocks_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if 'small.onnx' in code:
        _export_small()
    names: dict = {}
    exec(code, names)
    if 'logits' in names:
        assert names['logits'].shape == (1, 19, 64, 128)
    if 'predict' in names:
        assert names['path'] == Path('pictures/b.png')
        assert names['found'].boxes.shape == (len(names['found'].scores), 4)
    elif 'found' in names:
        assert names['found'][0].bboxes.shape[1] == 4
    if 'save_spec' in names:
        net = MobileNetV3(arch='my_net.json')
        assert net.block5.depthwise.conv.out_channels == 160
    if isinstance(names.get('backbone'), dict):
        from mmdet.registry import MODELS as MMDET_MODELS

        init_default_scope('mmdet')
        assert isinstance(MMDET_MODELS.build(names['backbone']), MobileNetV3)
        assert MODELS.get('MobileNetV3') is MobileNetV3


def _export_small() -> None:
    """What the block on predicting finds in its folder."""
    export_config(
        str(ROOT / 'tests/configs/ssdlite_shallow.py'),
        None,
        'small.onnx',
        'onnx',
        options={'model.bbox_head.anchor_generator.input_size': 96},
    )
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Path('pictures').mkdir()
    for name in ('a.jpg', 'pictures/b.png'):
        assert cv2.imwrite(name, picture)


def test_files_that_the_readme_names_exist() -> None:
    named = set(re.findall(r'(?:configs|tools|mmnv3|docs|tests)/[\w/.]+', README))
    assert len(named) > 15
    missing = [name for name in named if not (ROOT / name.rstrip('.')).exists()]
    assert not missing


def test_every_config_is_listed() -> None:
    listed = README.split('| config | what |')[1].split('\n\n')[0]
    # `ssdlite_mnv2[_050,_035]_coco.py` and `…_small_coco.py` stand for several.
    patterns = []
    for name in re.findall(r'`([\w…\[\],.]+\.py)`', listed):
        pattern = re.escape(name).replace(re.escape('…'), r'ssdlite_mnv3')
        pattern = re.sub(
            r'\\\[(.*?)\\\]', lambda m: '(' + m[1].replace(',', '|') + ')?', pattern
        )
        patterns.append(pattern)
    for path in ROOT.glob('configs/*.py'):
        assert any(re.fullmatch(p, path.name) for p in patterns), path.name
