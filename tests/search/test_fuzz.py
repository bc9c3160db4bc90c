"""Whatever the files of searches hold, there are results or one line."""

import json
import math
import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmnv3.arch import ZOO, get_spec, load_spec, save_spec
from mmnv3.arch.layers import Network, list_layers
from mmnv3.errors import UserError
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.netadapt.search import adapt
from mmnv3.size import Size
from tests.mutate import broken_value, mutate
from tests.search.conftest import law
from tests.search.nas.test_search import SETTINGS
from tests.search.nas.test_search import search as nas
from tests.search.netadapt.oracle import search as netadapt

SPEC = get_spec('small')
LAYERS = list_layers(Network(SPEC), Size(64, 64))


def broken(rng: random.Random, content: bytes, rows: bool = False) -> bytes:
    """A file of JSON, or of a row in each line, damaged in its values or bytes."""
    if rng.random() < 0.2:
        return mutate(content, rng.randrange(2**32))
    if not rows:
        return json.dumps(broken_value(rng, json.loads(content))).encode()
    values = broken_value(rng, list(map(json.loads, content.splitlines())))
    lines = values if isinstance(values, list) else [values]
    return ''.join(json.dumps(value) + '\n' for value in lines).encode()


def outcome(run: Callable[[], object]) -> bool:
    """Whether there is a result, and not one line."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            run()
        except UserError as error:
            assert str(error) and '\n' not in str(error)
            return False
    return True


def use_spec(path: Path) -> None:
    for layer in list_layers(Network(load_spec(path))):
        assert layer.madds >= 0 and min(layer.out_size) > 0


def use_table(path: Path) -> None:
    table = LatencyTable.load(path)
    assert 0 < table.layers_us(LAYERS) < math.inf
    assert 0 <= table.latency_us(LAYERS, None) < math.inf


def fuzz_specs(folder: Path, seeds: range) -> list[bool]:
    path, found = folder / 'net.json', []
    for seed in seeds:
        rng = random.Random(seed)
        save_spec(ZOO[rng.choice(sorted(ZOO))], path)
        path.write_bytes(broken(rng, path.read_bytes()))
        found.append(outcome(lambda: use_spec(path)))
    return found


def fuzz_tables(folder: Path, seeds: range) -> list[bool]:
    path, found = folder / 'table.json', []
    table = LatencyTable.new(Execution('pytorch'))
    for layer in LAYERS[::3]:
        table[layer] = law(layer)
    table.save(path)
    content = path.read_bytes()
    for seed in seeds:
        path.write_bytes(broken(random.Random(seed), content))
        found.append(outcome(lambda: use_table(path)))
    return found


def fuzz_folders(
    done: Path, folder: Path, go_on: Callable[[Path], object], seeds: range
) -> list[bool]:
    """Damages a file of a search that ended, and goes on with it."""
    names = [
        path.relative_to(done)
        for path in sorted(done.rglob('*'))
        if path.suffix in ('.json', '.jsonl', '.pt', '.pth')
    ]
    found = []
    for seed in seeds:
        rng = random.Random(seed)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(done, folder)
        name = rng.choice(names)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(
            broken(rng, content, name.suffix == '.jsonl')
            if 'json' in name.suffix
            else mutate(content, rng.randrange(2**32))
        )
        try:
            found.append(outcome(lambda: go_on(folder)))
        except Exception as error:
            raise AssertionError(f'{name} of seed {seed}') from error
        assert not list(folder.rglob('*.tmp'))
    return found


def finish_netadapt(folder: Path) -> None:
    adapt(netadapt(folder))


def finish_nas(folder: Path) -> None:
    nas(folder, settings=replace(SETTINGS, samples=16)).run()


@pytest.fixture(scope='module')
def netadapt_done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('netadapt')
    adapt(netadapt(folder))
    return folder


@pytest.fixture(scope='module')
def nas_done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('nas')
    nas(folder).run()
    return folder


def test_specifications(tmp_path: Path) -> None:
    assert 10 < sum(fuzz_specs(tmp_path, range(300))) < 290


def test_tables(tmp_path: Path) -> None:
    assert 10 < sum(fuzz_tables(tmp_path, range(200))) < 190


def test_folders_of_netadapt(netadapt_done: Path, tmp_path: Path) -> None:
    found = fuzz_folders(netadapt_done, tmp_path / 'a', finish_netadapt, range(15))
    assert set(found) == {True, False}


def test_folders_of_nas(nas_done: Path, tmp_path: Path) -> None:
    found = fuzz_folders(nas_done, tmp_path / 'a', finish_nas, range(60))
    assert set(found) == {True, False}


@pytest.mark.slow  # Thousands.
def test_many(netadapt_done: Path, nas_done: Path, tmp_path: Path) -> None:
    fuzz_specs(tmp_path, range(300, 6000))
    fuzz_tables(tmp_path, range(200, 3000))
    fuzz_folders(nas_done, tmp_path / 'a', finish_nas, range(60, 1500))
    fuzz_folders(
        netadapt_done,
        tmp_path / 'b',
        lambda path: adapt(netadapt(path)),
        range(15, 600),
    )
