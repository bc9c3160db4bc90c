"""The results that README tells: what measures each, and what it came to where.

Example:
    python -m studies.results                # hours: every row that this machine lacks
    python -m studies.results v3_small_8bit  # one row
    python -m studies.results --write        # only the pages, from docs/results.json
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from mmnv3 import arguments
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.cpu import usable_cores
from mmnv3.errors import UserError, end_on_ctrl_c, one_line_errors
from mmnv3.json_files import read_json
from studies.page import markdown_table, writing

ROOT = Path(__file__).parents[1]
RECORD = ROOT / 'docs' / 'results.json'
WORK_DIR = Path('work_dirs') / 'results'
# Where the tables stand, between two comments.
PAGES = {ROOT / 'README.md': False, ROOT / 'docs' / 'results.md': True}
_BEGIN, _END = '<!-- results', '<!-- end of results -->'

Reader = Callable[[Path], dict[str, float]]


@dataclass(frozen=True)
class Metrics:
    """Reads what a training validated last, or what a test found.

    Attributes:
        names: Of mmengine, by what they are called here.
    """

    names: Mapping[str, str]

    def __call__(self, work_dir: Path) -> dict[str, float]:
        """The newest values in a work directory."""
        # A test writes into the run's folder, a training into its `vis_data`.
        for path in sorted(work_dir.glob('*/**/*.json'), reverse=True):
            for line in reversed(path.read_text(encoding='utf-8').splitlines()):
                found = json.loads(line)
                if all(name in found for name in self.names.values()):
                    return {label: found[name] for label, name in self.names.items()}
        raise UserError(f'{work_dir} has no {", ".join(self.names.values())}')


def fastest_ms(work_dir: Path) -> dict[str, float]:
    """Medians of a benchmark from picture to boxes, in milliseconds.

    Of each precision they are the fastest backend's; bfloat16 is not every processor's.
    """
    rows = read_json(work_dir / 'speed.json')['rows']

    def times(theirs: bool, precision: str) -> list[float]:
        return [
            row['whole_ms']['p50']
            for row in rows
            if row['model'].startswith('torchvision:') is theirs
            and row['precision'] == precision
        ]

    found = {
        '32 bits': times(False, 'fp32'),
        'bfloat16': times(False, 'bf16'),
        '8 bits': times(False, 'int8'),
        "torchvision's": times(True, 'fp32'),
    }
    return {name: min(ms) for name, ms in found.items() if ms}


BOXES = Metrics({'AP': 'coco/bbox_mAP', 'AP50': 'coco/bbox_mAP_50'})
MASKS = Metrics({'mIoU': 'mIoU'})
CLASSES = Metrics({'top-1': 'accuracy/top1', 'top-5': 'accuracy/top5'})


@dataclass(frozen=True)
class Row:
    """A result.

    Attributes:
        key: Its name in ``docs/results.json``.
        what: What is measured.
        data: On what.
        commands: Arguments of ``python -m mmnv3``, one tool after the other, or a
            ``studies.`` module and its own. ``{work}`` stands for the row's folder;
            what is unfinished there is resumed.
        read: Gets the values from the folder.
        unit: Of the values.
        needs: What has to be there, and does not come with mmnv3.
        is_short: Whether README tells it.
    """

    key: str
    what: str
    data: str
    commands: tuple[str, ...]
    read: Reader
    unit: str = ''
    needs: tuple[str, ...] = ()
    is_short: bool = True


_DEMO = 'demo_data'
_BCCD = 'BCCD blood cells, 205 train, 87 val'
_CAMVID = 'CamVid, 120 train, 40 val'


def _few(iterations: int) -> str:
    """Options of a detector's training that is shorter than its config's."""
    return (
        f'train_cfg.max_iters={iterations} param_scheduler.1.end={iterations} '
        f'param_scheduler.1.T_max={iterations - 100}'
    )


_FEW_CELLS = _few(800)
_FEW_STREETS = (
    'train_cfg.max_iters=600 param_scheduler.1.end=600 train_cfg.val_interval=150'
)
_CROP = (
    'train_dataloader.batch_size=8 '
    'train_dataloader.dataset.pipeline.3.crop_size="(401,401)" '
    'model.data_preprocessor.size="(401,401)"'
)
_WEIGHTS = 'data/weights/v3-small_224_1.0_uint8.tflite'
_MINIMALISTIC = 'data/weights/v3-large-minimalistic_224_1.0_uint8.tflite'


def _train(config: str, options: str = '') -> str:
    options = f' --cfg-options {options}' if options else ''
    return f'train {config} --work-dir {{work}} --resume{options}'


def _own_data(layout: str, source: str, task: str, options: str) -> tuple[str, ...]:
    """What a person does with data in another layout; only the length is given."""
    # Not in the folder that gets the config as it was trained.
    config = '{work}/config/own.py'
    return (
        f'studies.layouts {layout} {{work}}/{layout} {source}',
        f'init_config {{work}}/{layout} --task {task} --pretrained {_WEIGHTS} '
        f'--out {config} --force',
        _train(config, options),
    )


def _convert_and_test(weights: str, config: str) -> tuple[str, str]:
    return (
        f'convert_checkpoint {weights} --from tflite --config {config} '
        '--out {work}/converted.pth',
        f'test {config} {{work}}/converted.pth --work-dir {{work}}',
    )


ROWS = (
    Row(
        'demo_detector',
        'detector, from nothing',
        '600 + 120 generated pictures',
        (_DEMO, _train('ssdlite_mnv3_small_demo')),
        BOXES,
    ),
    Row(
        'demo_segmenter',
        'segmenter, from nothing',
        'the same, with masks',
        (_DEMO, _train('lraspp_mnv3_small_demo')),
        MASKS,
    ),
    Row(
        'bccd',
        'SSDLite-Small, from nothing',
        _BCCD,
        (_train('ssdlite_mnv3_small_bccd'),),
        BOXES,
        needs=('data/bccd',),
    ),
    Row(
        'bccd_800',
        'the same, 800 iterations',
        _BCCD,
        (_train('ssdlite_mnv3_small_bccd', _FEW_CELLS),),
        BOXES,
        needs=('data/bccd',),
        is_short=False,
    ),
    Row(
        'bccd_800_imagenet',
        'SSDLite-Small, from ImageNet weights, 800 iterations',
        _BCCD,
        (_train('ssdlite_mnv3_small_bccd_imagenet', _FEW_CELLS),),
        BOXES,
        needs=('data/bccd', _WEIGHTS),
    ),
    Row(
        'camvid',
        'LR-ASPP-Large, from nothing, 2600 iterations',
        f"{_CAMVID}, in Cityscapes' layout",
        (
            _train(
                'lraspp_mnv3_large_cityscapes',
                'train_cfg.max_iters=2600 param_scheduler.1.end=2600 '
                f'param_scheduler.0.end=100 train_cfg.val_interval=520 {_CROP}',
            ),
        ),
        MASKS,
        needs=('data/cityscapes',),
    ),
    Row(
        'camvid_mmseg',
        "mmseg's V3-Large and LR-ASPP in the same time, 335 iterations",
        f"{_CAMVID}, in Cityscapes' layout",
        (
            _train(
                'mmseg_lraspp_mnv3_large_cityscapes',
                'train_cfg.max_iters=335 param_scheduler.1.end=335 '
                f'param_scheduler.0.end=40 train_cfg.val_interval=335 {_CROP} '
                'model.data_preprocessor.test_cfg.size="(392,480)"',
            ),
        ),
        MASKS,
        needs=('data/cityscapes',),
    ),
    Row(
        'camvid_600',
        'LR-ASPP-Small, from nothing, 600 iterations',
        f'{_CAMVID}, 11 classes',
        (_train('lraspp_mnv3_small_camvid', _FEW_STREETS),),
        MASKS,
        needs=('data/cityscapes',),
        is_short=False,
    ),
    Row(
        'camvid_600_imagenet',
        'LR-ASPP-Small, from ImageNet weights, 600 iterations',
        f'{_CAMVID}, 11 classes',
        (_train('lraspp_mnv3_small_camvid_imagenet', _FEW_STREETS),),
        MASKS,
        needs=('data/cityscapes', _WEIGHTS),
    ),
    Row(
        'own_cells',
        "init_config's detector, from ImageNet weights, 800 iterations",
        f'{_BCCD}, as Pascal VOC',
        _own_data(
            'voc',
            'data/bccd',
            'detection',
            f'{_FEW_CELLS} train_cfg.val_interval=400',
        ),
        BOXES,
        needs=('data/bccd', _WEIGHTS),
        is_short=False,
    ),
    Row(
        'own_persons',
        "init_config's detector, from ImageNet weights, 400 iterations",
        'COCO subset, persons, 98 train, 78 val, as YOLO',
        _own_data(
            'yolo',
            'data/coco --classes person',
            'detection',
            f'{_few(400)} train_cfg.val_interval=400',
        ),
        BOXES,
        needs=('data/coco', _WEIGHTS),
        is_short=False,
    ),
    Row(
        'own_streets',
        "init_config's segmenter, from ImageNet weights, 600 iterations",
        f'{_CAMVID}, 11 classes, as images/ and masks/',
        _own_data('masks', 'data/cityscapes', 'segmentation', _FEW_STREETS),
        MASKS,
        needs=('data/cityscapes', _WEIGHTS),
        is_short=False,
    ),
    Row(
        'v3_small_8bit',
        "Google's 8-bit V3-Small, converted to float",
        '1000 ImageNet pictures',
        _convert_and_test(_WEIGHTS, 'mnv3_small_imagenet'),
        CLASSES,
        '%',
        needs=('data/imagenet', _WEIGHTS),
    ),
    Row(
        'v3_large_minimalistic_8bit',
        "Google's 8-bit V3-Large minimalistic, likewise",
        '1000 ImageNet pictures',
        _convert_and_test(_MINIMALISTIC, 'mnv3_large_minimalistic_imagenet'),
        CLASSES,
        '%',
        needs=('data/imagenet', _MINIMALISTIC),
    ),
    Row(
        'speed',
        'SSDLite-Large, a picture of 640×480 to boxes, one thread',
        'random weights',
        (
            'benchmark ssdlite_mnv3_large_coco '
            'torchvision:ssdlite320_mobilenet_v3_large '
            '--backend all --precision all --json {work}/speed.json',
        ),
        fastest_ms,
        'ms',
    ),
)


@dataclass(frozen=True)
class Measured:
    """What a row came to on a machine.

    Attributes:
        values: By the names of its reader.
        machine: The machine and what was installed, in a line.
        day: When, as 2026-11-27.
        seconds: That its commands took; None where they were interrupted.
        note: What else has to be said.
    """

    values: dict[str, float]
    machine: str
    day: str = ''
    seconds: float | None = None
    note: str = ''

    def told(self, row: Row) -> str:
        """The values for a cell of a table."""
        return ', '.join(
            f'{name} {_number(value, row.unit)}' for name, value in self.values.items()
        )

    def told_time(self) -> str:
        """Minutes and seconds for a cell; empty where they are not known."""
        if self.seconds is None:
            return ''
        minutes, seconds = divmod(round(self.seconds), 60)
        return f'{minutes} min {seconds} s'


def _number(value: float, unit: str) -> str:
    # An average precision is a part of one, and all else is in hundredths or ms.
    return f'{value:.3f}' if value < 1 and not unit else f'{value:.1f} {unit}'.rstrip()


@dataclass(frozen=True)
class Results:
    """``docs/results.json``: of every row, the newest of each machine comes last."""

    rows: dict[str, list[Measured]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path = RECORD) -> Results:
        """Reads the file; nothing where there is none."""
        if not path.is_file():
            return cls()
        found = read_json(path)
        return cls(
            {
                row['key']: [Measured(**given) for given in row['measured']]
                for row in found['rows']
            }
        )

    def write(self, path: Path = RECORD) -> None:
        """Writes every row, with its command and what it came to."""
        rows = [
            dict(
                key=row.key,
                what=row.what,
                data=row.data,
                commands=shell_lines(row),
                unit=row.unit,
                measured=[vars(found) for found in self.rows.get(row.key, [])],
            )
            for row in ROWS
        ]
        text = json.dumps(dict(rows=rows), indent=2, ensure_ascii=False)
        with writing(path) as partial:
            partial.write_text(text + '\n', encoding='utf-8')

    def add(self, row: Row, found: Measured) -> None:
        """Adds a result in place of an older one of the same machine."""
        others = [
            old for old in self.rows.get(row.key, []) if old.machine != found.machine
        ]
        self.rows[row.key] = [*others, found]


def shell_lines(row: Row) -> list[str]:
    """A row's commands for a shell."""
    work_dir = WORK_DIR / row.key
    lines = [line.format(work=work_dir) for line in row.commands]
    return [
        f'python -m {"" if line.startswith("studies.") else "mmnv3 "}{line}'
        for line in lines
    ]


def measure(row: Row, machine: str) -> Measured:
    """Runs the commands of a row, or goes on where they were interrupted.

    Raises:
        UserError: When one fails.
    """
    work_dir = WORK_DIR / row.key
    done_once = work_dir / 'measured'
    if done_once.exists():
        # To resume what is finished would measure nothing.
        shutil.rmtree(work_dir)
    resumed = work_dir.exists()
    work_dir.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for line in shell_lines(row):
        # The Python at hand, and no shell.
        done = subprocess.run([sys.executable, *shlex.split(line)[1:]])
        if done.returncode:
            raise UserError(
                f'{row.key} ended with {done.returncode}; mend what it says and run '
                'the same command again: what was trained stays'
            )
    seconds = None if resumed else time.monotonic() - begun
    values = row.read(work_dir)
    done_once.touch()
    return Measured(values, machine, date.today().isoformat(), seconds)


def render(results: Results, full: bool) -> str:
    """The table of a page.

    Args:
        results: What it tells.
        full: Whether everything is told, or the newest of each short row.
    """
    lines = []
    for row in ROWS:
        found = results.rows.get(row.key, [])
        if full:
            lines += list(_full_lines(row, found))
        elif found and row.is_short:
            newest = found[-1]
            lines.append([row.what, row.data, newest.told(row), newest.told_time()])
    if not full:
        return markdown_table(['what', 'data', 'result', 'in'], lines)
    header = ['key', 'what', 'data', 'result', 'in', 'machine']
    machines = dict.fromkeys(
        f.machine for found in results.rows.values() for f in found
    )
    numbered = {machine: str(number) for number, machine in enumerate(machines, 1)}
    for line in lines:
        line[-1] = numbered.get(line[-1], line[-1])
    named = '\n'.join(f'{number}. {machine}' for machine, number in numbered.items())
    commands = '\n'.join('\n'.join([f'# {row.key}', *shell_lines(row)]) for row in ROWS)
    return (
        f'{markdown_table(header, lines)}\nMachines:\n\n{named}\n\n'
        f'Commands, by key:\n\n```bash\n{commands}\n```\n'
    )


def _full_lines(row: Row, found: Sequence[Measured]) -> Iterator[list[str]]:
    cells = [f'`{row.key}`', row.what, row.data]
    for one in found:
        took = one.told_time() + f' ({one.note})' * bool(one.note)
        yield [*cells, one.told(row), took.strip(), one.machine]
        cells = ['', '', '']


def write_pages(results: Results) -> list[Path]:
    """Writes the tables into the pages, between their comments."""
    for path, full in PAGES.items():
        text = path.read_text(encoding='utf-8')
        with writing(path) as partial:
            partial.write_text(with_table(text, render(results, full)), 'utf-8')
    return list(PAGES)


def with_table(text: str, table: str) -> str:
    """A page with another table between its comments."""
    head, begin, rest = text.partition(_BEGIN)
    comment, _, rest = rest.partition('\n')
    _, end, tail = rest.partition(_END)
    return f'{head}{begin}{comment}\n\n{table}\n{end}{tail}'


def _is_measured(results: Results, row: Row, machine: str) -> bool:
    return any(one.machine == machine for one in results.rows.get(row.key, []))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = argparse.ArgumentParser(
        prog='python -m studies.results', description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        'keys',
        nargs='*',
        type=arguments.name,
        metavar='KEY',
        help=f'{", ".join(row.key for row in ROWS)}; by default all that this machine '
        'and these versions have not measured',
    )
    parser.add_argument(
        '--write', action='store_true', help='write the pages, and measure nothing'
    )
    args = parser.parse_args(argv)
    unknown = set(args.keys) - {row.key for row in ROWS}
    if unknown:
        parser.error(f'there is no row {min(unknown)}')
    return args


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Measures rows, one after the other, and writes each when it is done."""
    args = parse(argv)
    results = Results.read()
    if args.write:
        print(*write_pages(results), sep='\n')
        return
    machine = machine_line(describe_machine(usable_cores()))
    for row in ROWS:
        if (
            row.key not in args.keys
            if args.keys
            else _is_measured(results, row, machine)
        ):
            continue
        missing = [path for path in row.needs if not Path(path).exists()]
        if missing:
            print(f'{row.key} is left out: there is no {missing[0]}')
            continue
        print(f'{row.key}: {row.what}')
        found = measure(row, machine)
        results = Results.read()  # Another run may have added to it meanwhile.
        results.add(row, found)
        results.write()
        write_pages(results)
        print(f'{row.key}: {found.told(row)}')


if __name__ == '__main__':
    end_on_ctrl_c(__name__)
    main()
