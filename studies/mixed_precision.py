"""Do networks train as well in bfloat16 as in float32? Several seeds of each.

Example:
    python tools/demo_data.py
    python -m studies.mixed_precision --out work_dirs/mixed_precision.json
    python -m studies.mixed_precision --out short.json --only demo --iterations 100

Data stands where the configs look for it; what is missing is told and left out. What
was trained is kept in the file, and the same command goes on with the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mmnv3 import arguments
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.training import TRAINING_PRECISIONS
from mmnv3.engine.config import read_config
from mmnv3.engine.launch import set_amp
from mmnv3.errors import UserError, one_line_errors
from mmnv3.files import check_output, whole_or_absent
from mmnv3.json_files import is_number, read_json
from mmnv3.search.configs import Budget
from mmnv3.search.trial import train_and_score
from studies.page import DASH, markdown_table

CONFIGS = Path(__file__).parents[1] / 'configs'
_SEEDS = 3


class Case(NamedTuple):
    """A config that is trained.

    Args:
        config: Its name.
        folder: Of the data that it wants.
        iterations: Of a training.
    """

    config: str
    folder: str
    iterations: int


CASES = {
    'demo': Case('ssdlite_mnv3_small_demo', 'work_dirs/demo_data', 840),
    'demo-masks': Case('lraspp_mnv3_small_demo', 'work_dirs/demo_data', 1600),
    'bccd': Case('ssdlite_mnv3_small_bccd', 'data/bccd', 800),
    'camvid': Case('lraspp_mnv3_small_camvid', 'data/cityscapes', 600),
}


def train_cases(
    cases: Mapping[str, Case], seeds: int, iterations: int | None, path: Path
) -> list[dict[str, Any]]:
    """Trains what the file does not hold yet, both precisions of a seed in turn.

    Args:
        cases: By name.
        seeds: Of every case and precision.
        iterations: Of a training; None for the case's own.
        path: Keeps every training as soon as it ends.

    Returns:
        The trainings of the file, those of before too.

    Raises:
        UserError: When a case cannot be trained, or the file not read or written.
    """
    records = _read_records(path)
    done = {tuple(record[key] for key in _IDENTITY) for record in records}
    for seed in range(seeds):
        for name, case in cases.items():
            for precision in TRAINING_PRECISIONS:
                count = iterations or case.iterations
                if (name, precision, seed, count) in done:
                    continue
                records.append(_train(name, case, precision, seed, count))
                print(json.dumps(records[-1]), flush=True)
                content = dict(
                    machine=describe_machine(torch.get_num_threads()), trainings=records
                )
                with whole_or_absent(path) as partial:
                    partial.write_text(json.dumps(content, indent=1), encoding='utf-8')
    return records


# By which a training is known.
_IDENTITY = ('case', 'precision', 'seed', 'iterations')


def _read_records(path: Path) -> list[dict[str, Any]]:
    try:
        content = read_json(path)
    except FileNotFoundError:
        return []
    records = content.get('trainings') if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(map(_is_record, records)):
        raise UserError(f'{path} is not a file of this study; name another --out')
    return records


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and all(key in record for key in (*_IDENTITY, 'metric'))
        and is_number(record.get('value'))
    )


def _train(
    name: str, case: Case, precision: str, seed: int, iterations: int
) -> dict[str, Any]:
    config = read_config(str(CONFIGS / f'{case.config}.py'))
    if precision == 'bf16':
        set_amp(config)
    budget = Budget(iterations, held_out=0.0, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trial = train_and_score(config, budget, folder)
    if trial.value is None:
        raise UserError(f'{name} in {precision}, seed {seed}: {trial.problem}')
    return dict(
        case=name,
        precision=precision,
        seed=seed,
        iterations=iterations,
        metric=trial.metric,
        value=trial.value,
        seconds=round(trial.seconds, 1),
    )


def summarise(records: Sequence[Mapping[str, Any]]) -> str:
    """A table: each case's mean and extremes, and how far the means are apart.

    Args:
        records: What :func:`train_cases` returns.
    """
    rows = []
    for name, iterations in dict.fromkeys(
        (r['case'], r['iterations']) for r in records
    ):
        values: dict[str, list[float]] = {
            precision: [] for precision in TRAINING_PRECISIONS
        }
        mine = [
            r for r in records if (r['case'], r['iterations']) == (name, iterations)
        ]
        for record in mine:
            values[record['precision']].append(record['value'])
        fp32, bf16 = (values[precision] for precision in TRAINING_PRECISIONS)
        whole = bool(fp32 and bf16)
        rows.append(
            [
                name,
                str(iterations),
                mine[0]['metric'],
                *map(_describe, (fp32, bf16)),
                f'{np.mean(bf16) - np.mean(fp32):+.3f}' if whole else DASH,
                f'{max(np.ptp(fp32), np.ptp(bf16)):.3f}' if whole else DASH,
            ]
        )
    header = ['case', 'iterations', 'figure', 'fp32', 'bf16', 'difference', 'spread']
    return markdown_table(header, rows)


def _describe(values: Sequence[float]) -> str:
    if not values:
        return DASH
    extremes = f'{min(values):.3f} to {max(values):.3f}'
    return f'{np.mean(values):.3f} ({extremes}, {len(values)})'


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, trains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out', type=arguments.path, required=True, metavar='FILE.json'
    )
    parser.add_argument(
        '--only',
        type=arguments.names,
        default=list(CASES),
        metavar='NAME[,NAME]',
        help=f'{", ".join(CASES)}; by default all whose data is here',
    )
    parser.add_argument('--seeds', type=arguments.count, default=_SEEDS)
    parser.add_argument(
        '--iterations', type=arguments.count, help='instead of every case’s own'
    )
    args = parser.parse_args(argv)
    check_output('--out', args.out)
    cases = {}
    for name in args.only:
        if name not in CASES:
            raise UserError(f'--only {name}: possible are {", ".join(CASES)}')
        if Path(CASES[name].folder).is_dir():
            cases[name] = CASES[name]
        else:
            print(
                f'{name}: left out, there is no {CASES[name].folder}', file=sys.stderr
            )
    print(summarise(train_cases(cases, args.seeds, args.iterations, args.out)))


if __name__ == '__main__':
    main()
