"""The page and the plots of the latency studies, from numbers made by hand."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mmnv3.benchmark.clock import Summary
from mmnv3.errors import UserError
from studies.latency.findings import changes, correlate, correlations
from studies.latency.page import render_page
from studies.latency.results import Measured, Results, Timed
from studies.latency.run import write_page
from studies.latency.studies import STUDIES

REMEDY = (
    'run `python tools/latency_study.py --out docs/latency.md --from docs/latency.json`'
)
MACHINE = dict(
    processor='a processor',
    instructions='AVX2',
    cores=2,
    threads=1,
    packages={'python': '3.11', 'torch': '2.14'},
)


def make(key: str) -> Measured:
    """PyTorch in the order of the print, OpenVINO in its reverse."""
    networks = []
    for index, entry in enumerate(STUDIES[key].entries):
        ms = entry.printed[0] or 40.0 + index
        times = {'pytorch': ms / 4, 'openvino': 400 / ms}
        summaries = {name: Summary(t, t, t, 0.1) for name, t in times.items()}
        networks.append(Timed(entry.labels, 2_000_000, 30_000_000 + index, summaries))
    backends = ('pytorch', 'openvino')
    return Measured(MACHINE, '2025-12-31', 40, backends, ('x is left out',), networks)


@pytest.fixture
def results() -> Results:
    return Results({key: make(key) for key in STUDIES})


def test_ranks() -> None:
    assert correlate([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert correlate([1, 2, 3], [30, 20, 10]) == pytest.approx(-1)
    # By hand: 1 - 6 · (0 + 1 + 1) / (3 · 8).
    assert correlate([1, 2, None, 3], [1, 3, 5, 2]) == pytest.approx(0.5)
    assert correlate([1, 2, None], [1, 2, 3]) is None
    assert correlate([1, 2, 3], [5, 5, 5]) is None


def test_correlations_of_a_study() -> None:
    found = correlations(STUDIES['3'], make('3'))
    assert found['pytorch'] == pytest.approx(1)
    assert found['openvino'] == pytest.approx(-1)
    assert list(found) == ['pytorch', 'openvino', 'MAdds']
    assert set(correlations(STUDIES['figure9'], make('figure9')).values()) == {None}


def test_contrasts() -> None:
    found = dict(changes(STUDIES['3'], make('3')))
    printed, pytorch, openvino = found['V3-Large 1.0 against V2 1.0']
    assert printed == pytest.approx(51 / 64 - 1) == pytorch
    assert openvino == pytest.approx(64 / 51 - 1)
    steps = dict(changes(STUDIES['figure9'], make('figure9')))
    assert steps['5 against 0: all steps'][0] == pytest.approx(51 / 71 - 1)
    assert steps['1 against 0: efficient last stage'][0] is None


def test_the_page(results: Results, tmp_path: Path) -> None:
    files = write_page(results, tmp_path / 'page.md')
    page = (tmp_path / 'page.md').read_text(encoding='utf-8')
    assert page.count('a processor (AVX2), 2 cores, 1 thread') == 1
    assert 'x is left out.' in page
    assert re.search(r'\| Table 3 +\| 8 +\| 1\.00 +\| -1\.00 +\| ', page)
    assert 'PyTorch 1.00, OpenVINO -1.00, MAdds' in page.replace('\n', ' ')
    # V3-Large 0.75: 39 ms in the paper, a quarter here.
    assert re.search(
        r'\| V3-Large 0\.75 \| 73\.3 .*39 \(0\.76\).* 9\.75 \(0\.76\)', page
    )
    for study in STUDIES.values():
        assert f'\n## {study.title}\n' in page
    assert len(files) == 1 + len(STUDIES)
    for file in files[1:]:
        assert f']({file.name})' in page
        head = file.read_bytes()
        assert head.startswith(b'\x89PNG') and 10_000 < len(head) < 300_000


def test_rendering_again_gives_the_same(tmp_path: Path) -> None:
    results = Results({'4': make('4')})
    results.write(tmp_path / 'page.json')
    read = Results.read(tmp_path / 'page.json')
    write_page(results, tmp_path / 'page.md')
    first = (tmp_path / 'page.md').read_text(encoding='utf-8')
    write_page(read, tmp_path / 'page.md')
    assert (tmp_path / 'page.md').read_text(encoding='utf-8') == first
    assert not list(tmp_path.glob('*.tmp'))


def test_numbers_of_other_networks_are_refused(results, tmp_path: Path) -> None:
    measured = results.studies['6']
    results.studies['6'] = replace(measured, networks=measured.networks[1:])
    with pytest.raises(UserError, match=r'other rows .* --study 6 --fresh'):
        write_page(results, tmp_path / 'page.md')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('text', ['[]', '{"studies": {"3": {}}}', '{"studies": [1]}'])
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'page.json'
    path.write_text(text)
    with pytest.raises(UserError, match=r'page\.json holds no measured latencies'):
        Results.read(path)


def test_pages_and_numbers_that_cannot_be_written(results, tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    for write in (lambda path: write_page(results, path), results.write):
        with pytest.raises(UserError, match='cannot be written'):
            write(tmp_path / 'file' / 'page.md')


def test_the_committed_page_is_what_its_numbers_give() -> None:
    docs = Path(__file__).parents[2] / 'docs'
    results = Results.read(docs / 'latency.json')
    assert set(results.studies) == set(STUDIES)
    plots = {key: f'latency_{key}.png' for key in STUDIES}
    page = (docs / 'latency.md').read_text(encoding='utf-8')
    assert page == render_page(results, 'docs/latency', plots), REMEDY
    for name in plots.values():
        assert (docs / name).read_bytes().startswith(b'\x89PNG')
