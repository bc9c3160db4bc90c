"""The study of training in bfloat16: its record, its table, and what it refuses."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmnv3.engine.config import read_config
from mmnv3.search.configs import Budget
from mmnv3.search.trial import Trial
from studies import mixed_precision
from studies.mixed_precision import CASES, CONFIGS, main, summarise


def record(precision: str, seed: int, value: float) -> dict:
    return dict(
        case='demo', precision=precision, seed=seed, iterations=9, metric='m',
        value=value,
    )  # fmt: skip


def test_the_table_by_hand() -> None:
    records = [record('fp32', seed, value) for seed, value in enumerate((0.1, 0.2))]
    records += [record('bf16', seed, value) for seed, value in enumerate((0.3, 0.2))]
    cells = [cell.strip() for cell in summarise(records).splitlines()[2].split('|')]
    fp32, bf16 = '0.150 (0.100 to 0.200, 2)', '0.250 (0.200 to 0.300, 2)'
    assert cells[1:-1] == ['demo', '9', 'm', fp32, bf16, '+0.100', '0.100']
    assert '| –' in summarise(records[:2])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list:
    """What was trained; the third training breaks down. One data set is here."""
    calls: list = []

    def train(config: Config, budget: Budget, work_dir: str) -> Trial:
        calls.append((config.optim_wrapper.get('type'), budget))
        failed = len(calls) == 3
        return Trial('m', None if failed else 0.5, problem='the loss is nan')

    monkeypatch.setattr(mixed_precision, 'train_and_score', train)
    monkeypatch.setattr('mmnv3.engine.launch.get_device', lambda: 'cpu')
    monkeypatch.setattr('mmnv3.engine.launch.has_bf16', lambda: True)
    monkeypatch.chdir(tmp_path)
    Path('data/bccd').mkdir(parents=True)
    return calls


def test_it_goes_on_where_it_broke_down(
    trained: list, capsys: pytest.CaptureFixture
) -> None:
    command = ['--out', 'found.json', '--seeds', '2', '--iterations', '7']
    with pytest.raises(SystemExit):
        main(command)
    shown = capsys.readouterr().err
    assert 'bccd in fp32, seed 1: the loss is nan' in shown
    assert 'camvid: left out, there is no data/cityscapes' in shown
    main(command)
    wrappers = ['OptimWrapper', 'mmnv3.BFloat16OptimWrapper']
    expected = [(wrappers[i], s) for i, s in ((0, 0), (1, 0), (0, 1), (0, 1), (1, 1))]
    assert [(wrapper, budget.seed) for wrapper, budget in trained] == expected
    assert {(b.iterations, b.held_out) for _, b in trained} == {(7, 0.0)}
    assert len(json.loads(Path('found.json').read_text())['trainings']) == 4
    assert '+0.000' in capsys.readouterr().out


def test_mistakes(trained: list, capsys: pytest.CaptureFixture) -> None:
    Path('other.json').write_text('{"trainings": [3]}')
    for command in (['--out', 'other.json'], ['--out', 'x.json', '--only', 'coco']):
        with pytest.raises(SystemExit):
            main(command)
    shown = capsys.readouterr().err
    assert 'other.json is not a file of this study' in shown
    assert '--only coco: possible are demo, ' in shown
    assert not trained


def test_the_configs_look_where_the_study_does() -> None:
    for case in CASES.values():
        config = read_config(str(CONFIGS / f'{case.config}.py'))
        assert config.train_dataloader.dataset.data_root.rstrip('/') == case.folder
