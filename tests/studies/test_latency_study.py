"""The latency studies: what is timed, and that it is timed, kept and resumed."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmnv3.arch import ZOO, load_spec
from mmnv3.errors import UserError
from studies.latency import measure
from studies.latency.results import read_results, write_results
from studies.latency.studies import STUDIES, Entry, Study
from studies.latency.variants import (
    STEPS,
    NaiveHSwish,
    Variant,
    step_networks,
    write_naively,
)
from studies.networks import Classifier, cost

SHALLOW = load_spec('tests/configs/shallow.json')
TOOL = str(Path(__file__).parents[2] / 'tools' / 'latency_study.py')

# Counted by hand: parameters, and millions of MAdds.
FIGURE_9 = [
    (3_887_038, 311.579),  # MNAS prints 3.9 M and 312 M
    # Less 960·9 + 960·320 + 320·1280 weights and their norms, and 960·1280 after
    # pooling; the paper says 30 M MAdds less.
    (4_386_558, 277.261),
    # Half of the stem, of the first depthwise and projection: the paper says 10 M.
    (4_385_662, 266.825),
    (4_228_718, 215.336),
    (4_228_718, 215.336),
    (5_483_032, 216.590),
]


def test_figure_9_leads_from_mnasnet_to_v3_large() -> None:
    specs = [network.arch for network in step_networks()]
    assert replace(specs[0], name='mnasnet_a1') == ZOO['mnasnet_a1']
    assert replace(specs[-1], name='large') == ZOO['large']
    assert len({replace(spec, name='') for spec in specs}) == len(STEPS) == 6


def test_figure_9_counts() -> None:
    found = [cost(network) for network in step_networks()]
    counts = [(step.params, round(step.madds / 1e6, 3)) for step in found]
    assert counts == FIGURE_9
    # One layer of 960 channels, 320 and 1280 channels have no norm any more.
    assert found[0].norm_params - found[1].norm_params == 2 * (960 + 320 + 1280)
    gone = 49 * (960 * 9 + 960 * 320 + 320 * 1280) - 960 * 1280
    assert found[0].madds - found[1].madds == gone
    halved = 112**2 * (27 * 16 + 9 * 16 + 16 * 16)
    assert found[1].madds - found[2].madds == halved


@pytest.mark.parametrize('arch', ['large', 'small'])
def test_naive_hswish_is_hswish(arch: str) -> None:
    fused, naive = (
        Variant(Classifier(arch, side=64), naive=naive).build()
        for naive in (False, True)
    )
    count = sum(isinstance(m, torch.nn.Hardswish) for m in fused.modules())
    assert count == sum(isinstance(m, NaiveHSwish) for m in naive.modules()) > 0
    assert not any(isinstance(m, torch.nn.Hardswish) for m in naive.modules())
    x = torch.randn(fused.shape, generator=torch.Generator().manual_seed(0))
    expected, found = fused(x), naive(x)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.std())
    values = torch.linspace(-5, 5, 101)
    assert torch.allclose(NaiveHSwish()(values), torch.nn.Hardswish()(values))


def test_naive_hswish_leaves_other_layers() -> None:
    network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Hardsigmoid())
    before = list(network)
    write_naively(network)
    assert list(network) == before


def test_the_variants_of_table_5() -> None:
    entries = STUDIES['5'].entries
    uses = [str(entry.variant.build()).count('HSwish') for entry in entries[1:8:2]]
    fused = [str(entry.variant.build()).count('Hardswish') for entry in entries[:8:2]]
    # Stem, last 1×1, head; two in each block, which has an expansion.
    assert uses == fused == [3 + 2 * 9, 3, 3 + 2 * 15 - 1, 3 + 2 * 5]
    assert 'swish' not in str(entries[8].variant.build())
    printed = [entry.printed_ms[0] for entry in entries]
    assert printed == [51.4, 57.5, 50.5, 50.5, 53.5, 68.9, 51.0, 54.4, None]


def test_the_studies_have_the_rows_of_the_tables() -> None:
    assert {key: len(study.entries) for key, study in STUDIES.items()} == {
        '3': 8,
        '4': 8,
        '5': 9,
        'figure9': 6,
        '6': 11,
        '8': 8,
    }
    for study in STUDIES.values():
        assert all(len(e.printed_ms) == len(study.columns) for e in study.entries)
        labels = [entry.labels for entry in study.entries]
        assert len(set(labels)) == len(labels)
        for contrast in study.contrasts:
            assert {contrast.new, contrast.old} <= set(labels)
    eight_bits = STUDIES['4'].entries[::2]
    assert {entry.variant.precision for entry in eight_bits} == {'int8'}
    assert [entry.printed_ms[0] for entry in STUDIES['4'].entries[:2]] == [44.0, 51.0]
    assert STUDIES['8'].entries[0].printed_ms == (2470.0,)


def test_one_network_has_one_file_and_another_form_another() -> None:
    large = Variant(Classifier('large'))
    again = STUDIES['figure9'].entries[-1].variant
    assert large.digest() == again.digest() == STUDIES['5'].entries[0].variant.digest()
    others = [
        replace(large, naive=True),
        replace(large, precision='int8'),
        Variant(Classifier('large', side=192)),
        Variant(Classifier('small')),
        *(entry.variant for entry in STUDIES['6'].entries),
        *(entry.variant for entry in STUDIES['8'].entries),
    ]
    digests = {variant.digest() for variant in others}
    assert len(digests) == len(others) and large.digest() not in digests
    assert large.digest('torch 1') != large.digest('torch 2')


@pytest.fixture
def tiny(monkeypatch) -> Study:
    """A study of two networks of five blocks on small pictures."""
    entries = tuple(
        Entry(
            (name,),
            Variant(Classifier(SHALLOW, width, side=32)),
            accuracy,
            (printed,),
        )
        for name, width, accuracy, printed in (
            ('V3 wide', 0.5, 60.0, 20.0),
            ('V3 narrow', 0.35, 50.0, 10.0),
        )
    )
    study = Study(
        'tiny',
        'Tiny: a test',
        'Nothing.',
        ('network',),
        'top-1 %',
        ('P-1 ms',),
        entries,
        (),
        lambda labels: ('V3', labels[0]),
    )
    monkeypatch.setitem(STUDIES, 'tiny', study)
    return study


def run_tool(monkeypatch, *args: str) -> None:
    monkeypatch.setattr(sys, 'argv', [TOOL, *args])
    runpy.run_path(TOOL, run_name='__main__')


def test_from_nothing_to_the_page(tiny, tmp_path: Path, monkeypatch, capsys) -> None:
    out, work = tmp_path / 'new' / 'page.md', tmp_path / 'work'
    common = ['--out', str(out), '--study', 'tiny', '--work-dir', str(work)]
    common += ['--backend', 'pytorch,onnxruntime']
    run_tool(monkeypatch, *common, '--prepare')
    files = sorted(work.iterdir())
    assert len(files) == 2 and {file.suffix for file in files} == {'.onnx'}
    assert not out.parent.exists()

    stamps = [file.stat().st_mtime_ns for file in files]
    run_tool(monkeypatch, *common, '--runs', '2')
    assert [file.stat().st_mtime_ns for file in sorted(work.iterdir())] == stamps
    assert {path.name for path in out.parent.iterdir()} == {
        'page.md',
        'page.json',
        'page_tiny.png',
    }
    assert (out.parent / 'page_tiny.png').read_bytes().startswith(b'\x89PNG')
    page = out.read_text(encoding='utf-8')
    assert '## Tiny: a test' in page and '](page_tiny.png)' in page
    measured = read_results(out.with_suffix('.json'))['tiny']
    assert measured.backends == ('pytorch', 'onnxruntime') and measured.runs == 2
    assert all(ms.p50 > 0 for timed in measured.networks for ms in timed.ms.values())
    assert measured.networks[0].madds == cost(tiny.entries[0].variant.network).madds
    assert 'too few latencies' in capsys.readouterr().out


def test_what_was_measured_is_not_measured_again(
    tiny, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / 'page.md'
    common = ['--out', str(out), '--study', 'tiny', '--backend', 'pytorch']
    common += ['--work-dir', str(tmp_path), '--runs', '2']
    run_tool(monkeypatch, *common)
    calls = []
    measure_study = measure.measure_study
    monkeypatch.setattr(
        measure,
        'measure_study',
        lambda *args: calls.append(args) or measure_study(*args),
    )
    run_tool(monkeypatch, *common)
    assert not calls
    run_tool(monkeypatch, *common, '--fresh')
    assert len(calls) == 1
    # Another version of a package.
    machine = {**measure.describe_machine(1), 'packages': {'torch': 'other'}}
    monkeypatch.setattr(measure, 'describe_machine', lambda threads: machine)
    run_tool(monkeypatch, *common)
    assert len(calls) == 2


def test_a_missing_runtime_is_left_out(tiny, tmp_path: Path, monkeypatch) -> None:
    def require(package: str, extra: str) -> None:
        raise UserError(f'{package} is not installed')

    monkeypatch.setattr(measure, 'find_spec', lambda package: None)
    monkeypatch.setattr(measure, 'require', require)
    out = tmp_path / 'page.md'
    common = ['--out', str(out), '--study', 'tiny', '--runs', '2']
    common += ['--work-dir', str(tmp_path / 'work')]
    run_tool(monkeypatch, *common)
    page = out.read_text(encoding='utf-8')
    assert 'openvino is left out: openvino is not installed.' in page
    assert '| PyTorch' in page and '| LiteRT' not in page
    with pytest.raises(UserError, match='nothing to measure with; litert is left out'):
        measure.installed_backends(['litert'])


@pytest.mark.parametrize(
    ('args', 'told'),
    [
        (('--study', '7'), '--study 7 is unknown; possible: 3, 4, 5, figure9, 6, 8'),
        (('--backend', 'tensorrt'), "backend 'tensorrt' is unknown"),
        (('--out', 'page.html'), 'end it in .md'),
        (('--from', 'gone.json'), 'gone.json cannot be read'),
        (('--from', 'empty.json'), 'empty.json holds no measured latencies'),
        (('--from', 'nothing.json'), 'nothing was measured'),
    ],
)
def test_the_tool_refuses(args, told: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path('empty.json').touch()
    write_results({}, Path('nothing.json'))
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, '--out', 'page.md', *args)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and told in error and error.count('\n') == 1
    assert set(tmp_path.iterdir()) == before
