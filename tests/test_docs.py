"""What the README and the pages of docs/ show: it runs, and what it names exists."""

import argparse
import ast
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from inspect import signature
from itertools import chain, takewhile
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmnv3 import mim
from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.deploy.export import export_config
from mmnv3.deploy.video import write_video
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.engine.config import read_config
from mmnv3.models import MobileNetV3
from mmnv3.registry import MODELS
from tests.own_sets import make_coco
from tests.tools import fork_tool, main_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
README, TEXTS = PAGES[0].read_text('utf-8'), [page.read_text('utf-8') for page in PAGES]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)


# The tools and the studies, as they are named in a command.
FRONT = re.compile(r'python3? (?:-m mmnv3 (\w+)|tools/(\w+)\.py|-m studies\.(\w+))\b')
# Their examples stand in their own texts.
FRONTS = [*ROOT.glob('tools/*.py'), *ROOT.glob('studies/*.py')]


def spans_of(text: str) -> list[str]:
    """What stands in sentences as code."""
    return re.findall(r'`([^`]+)`', re.sub(r'(?s)```.*?```', '', text))


def commands(texts: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Every call of a tool or a study in texts: its front and the arguments."""
    for text in texts:
        for line in text.replace('\\\n', '').splitlines():
            if found := FRONT.search(line):
                words = shlex.split(line[found.end() :], comments=True)
                yield front(found), [*takewhile(lambda word: word != '|', words)]


def front(found: re.Match) -> str:
    """A tool's file, or a study's module."""
    tool, file, study = found.groups()
    return f'studies.{study}' if study else f'{tool or file}.py'


def main(name: str) -> Callable[[list[str]], None]:
    return import_module(name).main if name.startswith('studies.') else main_of(name)


BASH = {p.name: blocks('bash', text) for p, text in zip(PAGES, TEXTS)}
EXAMPLES = [ast.get_docstring(ast.parse(path.read_text('utf-8'))) for path in FRONTS]
COMMANDS = [*commands(chain(*BASH.values(), filter(None, EXAMPLES)))]
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
    """A front's arguments were taken.

    Attributes:
        values: What they are.
        known: All options.
    """

    def __init__(self, values: argparse.Namespace, known: set[str]) -> None:
        super().__init__()
        self.values, self.known = values, known


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], Parsed]:
    """Lets a front parse, and do no more."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, args: list[str] | None = None) -> None:
        known = set(re.findall(r'--[a-z][\w-]*', self.format_help()))
        raise Parsed(parse(self, args), known)

    def ask(name: str, args: list[str]) -> Parsed:
        with pytest.raises(Parsed) as found:
            main(name)(args)
        return found.value

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    return ask


def test_commands_are_understood(parsed, capsys) -> None:
    """Every option of every command is one of its tool, and every config is there.

    What a command sets of one of our configs stands in that config.
    """
    assert len(COMMANDS) > 100
    assert {name for name, _ in COMMANDS} >= {f'{name}.py' for name in mim.tools()}
    for name, given in COMMANDS:
        told = f'{name} {shlex.join(given)}'
        try:
            values = parsed(name, given).values
        except SystemExit:
            pytest.fail(f'{told}: {capsys.readouterr().err}')
        ours = [
            path
            for word in given
            if word.startswith('configs/') or re.fullmatch(r'\w*mnv\d_\w+', word)
            if (path := Path(mim.find_config(word)))
        ]
        assert all(path.is_file() for path in ours), told
        for key in getattr(values, 'cfg_options', None) or () if ours else ():
            assert takes(read_config(str(ours[0])), key), told


def takes(config: Config, key: str) -> bool:
    """Whether a config has a setting, or the part that it is of has a default."""
    place = config
    for part in key.split('.'):
        if isinstance(place, list):
            place = place[int(part)]
        elif part in place:
            place = place[part]
        else:
            kind = place.get('type', '')
            name = kind if '.' in kind else f'{config.default_scope}.{kind}'
            return part in signature(MODELS.get(name)).parameters
    return True


# Pages that a person follows from above. Left out are commands that need an address, a
# camera, a server, other machines, or a page that Node.js builds (tests/deploy,
# tests/web), data of others or hours (docs/results.md tells of them), and packages that
# may be missing. Searches, studies, and what only draws the data, have their own tests.
WALK = ('README.md', 'export.md', 'predict.md', 'own_data.md', 'index.md', 'train.md')
ELSEWHERE = re.compile(
    r'://| 0 --show|\bweb\b|_(coco|cityscapes|imagenet)\b|executorch|^(nas|netadapt)\b'
    r'|^demo_data|^studies\.'
)
# What makes a training or two short.
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.batch_size=2',
]


@pytest.mark.slow(reason='twenty tools, of which two calibrate')
def test_commands_of_the_walk_run(walk: Path) -> None:
    """One after the other in a folder, with what they name in it."""
    done, wrong = [], []
    for name, given in commands(chain.from_iterable(BASH[page] for page in WALK)):
        told = f'{name.removesuffix(".py")} {shlex.join(given)}'
        if ELSEWHERE.search(told) or told in done:
            continue
        words = ['ssdlite_mnv3_small_demo' if w == 'CONFIG' else w for w in given]
        if name == 'train.py':
            words += ['--cfg-options', *SHORT]
        if name == 'init_config.py':
            words += ['--pretrained', 'none']
        found = fork_tool(name, *words, cwd=walk)
        if found.returncode != 0:
            wrong.append(f'{told}\n{found.stdout}\n{found.stderr}')
        done.append(told)
    assert not wrong, '\n'.join(wrong)
    assert len(done) > 15
    for made in ('mine_int8.xml', 'whole.onnx', 'found.jsonl', 'found/results.csv'):
        assert (walk / made).stat().st_size, made
    assert cv2.VideoCapture(str(walk / 'drawn/clip.mp4')).grab()


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    """A folder with what the commands name: pictures, a set of one's own, weights."""
    demo = tmp_path / 'work_dirs/demo_data'
    write_demo_data(demo, DemoSpec(train=8, val=2))  # Enough to calibrate on.
    pictures = sorted(demo.glob('leftImg8bit/train/**/*.jpg'))
    for folder in ('photos', 'pictures'):
        (tmp_path / folder).mkdir()
        for picture in pictures:
            shutil.copy(picture, tmp_path / folder)
    shutil.copy(pictures[0], tmp_path / 'a.jpg')
    with write_video(tmp_path / 'clip.mp4', 25) as write:
        for picture in pictures[:3]:
            write(cv2.imread(str(picture)), None)
    model = build_model('ssdlite_mnv3_small_demo')
    checkpoint = tmp_path / 'work_dirs/ssdlite_mnv3_small_demo/iter_840.pth'
    write_checkpoint(checkpoint, model.state_dict())
    shutil.copy(checkpoint, tmp_path / 'best.pth')
    # As many classes as these weights have.
    names = enumerate(model.cfg.metainfo.classes, 7)
    categories = [dict(id=number, name=name) for number, name in names]
    make_coco(tmp_path / 'path/to/my_data', 20, categories=categories)
    return tmp_path


# Options of other programs, in sentences.
FOREIGN = {'--head', '--no-deps', '--shm-size', '--use-webgpu-adapter', '--workers'}


def test_options_in_sentences_are_known(parsed) -> None:
    known = {name: parsed(name, given).known for name, given in COMMANDS}
    # One page is about the tools of others.
    pages = [page for page in zip(PAGES, TEXTS) if page[0].name != 'openmmlab.md']
    spans = [span for _, text in pages for span in spans_of(text)]
    assert any(FRONT.search(span) for span in spans)
    for span in spans:
        found = FRONT.search(span)
        options = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', span))
        assert options <= (
            known[front(found)] if found else FOREIGN.union(*known.values())
        ), span


def test_targets_and_extras_exist() -> None:
    makefile = (ROOT / 'Makefile').read_text('utf-8')
    lines = ''.join(block for text in TEXTS for block in blocks('bash', text))
    targets = set(re.findall(r'(?m)^make ([a-z-]+)', lines))
    targets |= set(re.findall(r'`make ([a-z-]+)`', ''.join(TEXTS)))
    assert len(targets) > 5
    assert targets <= set(re.findall(r'^([a-z-]+):', makefile, re.MULTILINE))
    setup = (ROOT / 'setup.py').read_text('utf-8')
    extras = set(re.findall(r"^    '([a-z-]+)': ", setup, re.MULTILINE))
    start = (ROOT / 'docs/index.md').read_text('utf-8')
    listed = start.split('| extra | for |')[1].split('\n\n')[0]
    rows = [row.split('|')[1] for row in listed.splitlines() if '`' in row]
    assert set(re.findall(r'`([a-z-]+)`', ''.join(rows))) == extras
    named = re.findall(r"install [^`\n]*?\[([a-z,-]+)\]'", ''.join(TEXTS))
    assert {name for names in named for name in names.split(',')} <= extras


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
