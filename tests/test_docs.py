"""What the README and the pages of docs/ show: it runs, and what it names exists."""

import argparse
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmnv3 import mim
from mmnv3.deploy.export import export_config
from mmnv3.models import MobileNetV3
from mmnv3.registry import MODELS
from tests.tools import main_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
README, TEXTS = PAGES[0].read_text('utf-8'), [page.read_text('utf-8') for page in PAGES]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)


def commands() -> Iterator[list[str]]:
    """The arguments of every `python -m mmnv3` in a block, its tool first."""
    for text in TEXTS:
        for block in blocks('bash', text):
            for line in block.replace('\\\n', '').splitlines():
                _, found, given = line.partition(' -m mmnv3 ')
                if found and (words := shlex.split(given, comments=True)):
                    yield [*takewhile(lambda word: word != '|', words)]


COMMANDS = list(commands())
NETWORKS = (ROOT / 'docs/networks.md').read_text('utf-8')
# The blocks of other pages are those of tests/test_doors.py and tests/deploy.
BLOCKS = [*blocks('python', README), *blocks('python', NETWORKS)]


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


class Parsed(Exception):
    """A tool's arguments were taken."""


def test_commands_are_understood(monkeypatch, capsys) -> None:
    """Every option of every command is one of its tool, and every config is there."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, args: list[str] | None = None) -> None:
        parse(self, args)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    assert len(COMMANDS) > 50
    for tool, *given in COMMANDS:
        try:
            with pytest.raises(Parsed):
                main_of(f'{tool}.py')(given)
        except SystemExit:
            pytest.fail(f'{tool} {shlex.join(given)}: {capsys.readouterr().err}')
        named = [word for word in given if re.fullmatch(r'\w*mnv\d_\w+', word)]
        assert set(named) <= set(mim.config_names()), named


def test_files_that_the_readme_names_exist() -> None:
    named = set(re.findall(r'(?:configs|tools|mmnv3|docs|tests)/[\w/.]+', README))
    assert len(named) > 15
    missing = [name for name in named if not (ROOT / name.rstrip('.')).exists()]
    assert not missing
    assert len(README.splitlines()) <= 200


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / 'mkdocs.yml').read_text('utf-8')
    for page in PAGES[1:]:
        assert f' {page.relative_to(ROOT / "docs").as_posix()}\n' in menu, page


def test_every_config_is_listed() -> None:
    train = (ROOT / 'docs/train.md').read_text('utf-8')
    listed = train.split('| config | what |')[1].split('\n\n')[0]
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


def test_messages_that_are_explained_are_said() -> None:
    """What the page quotes of ours, between names and numbers, is in the code."""
    text = (ROOT / 'docs/troubleshooting.md').read_text('utf-8')
    ours = text.partition('\n## Configs and checkpoints')[2]
    files = [*(ROOT / 'mmnv3').rglob('*.py'), *(ROOT / 'tools').glob('*.py')]
    code = ''.join(file.read_text('utf-8') for file in files)
    # A message is written in several strings.
    code = re.sub(r'[\'"]\s*\n\s*f?[\'"]', '', code)
    quoted = [
        part.strip(' ;:')
        for row in re.findall(r'^\| (`.*?) \|', ours, re.MULTILINE)
        for said in re.findall(r'`([^`]+)`', row)
        for part in said.split('…')
    ]
    assert len(quoted) > 40
    # `--amp` in the text of a row is an option, not a message.
    assert not [part for part in quoted if part not in code]
