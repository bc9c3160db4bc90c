"""Prices by a made-up table, its file, and measuring that goes on."""

import json
import math
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mmnv3.arch import BlockSpec, ConvSpec, NetSpec, get_spec
from mmnv3.arch.layers import Layer, Network, list_layers
from mmnv3.cpu import has_bf16
from mmnv3.deploy import runtime
from mmnv3.errors import Remark, UserError
from mmnv3.search.latency import measuring
from mmnv3.search.latency.grid import search_grid
from mmnv3.search.latency.measuring import (
    load_layer,
    measure_configs,
    measure_layers,
    measure_networks,
    open_table,
)
from mmnv3.search.latency.probes import input_shape
from mmnv3.search.latency.table import (
    Execution,
    LatencyTable,
    NetworkFit,
    NetworkTime,
    Overhead,
    fit_networks,
)
from mmnv3.search.latency.tracing import trace
from mmnv3.size import Size

BFLOAT16 = pytest.mark.skipif(not has_bf16(), reason='this processor has no bfloat16')
CONVS = [
    Layer('conv', before, after, 8, 8, act='relu')
    for before in (16, 48, 96)
    for after in (16, 64, 96)
]


def linear_us(layer: Layer) -> float:
    """Linear in the widths and their product."""
    before, after = layer.widths
    return 2 + 0.1 * before + 0.05 * after + 0.01 * before * after


def made_up() -> LatencyTable:
    table = LatencyTable.new(Execution('onnxruntime'))
    for layer in CONVS:
        table[layer] = linear_us(layer)
    return table


def test_prices_are_sums() -> None:
    spec = NetSpec('one', ConvSpec(8, 3, 2), (BlockSpec(3, 16, 8),))
    table = LatencyTable.new(Execution('onnxruntime'))
    layers = list_layers(Network(spec), Size(32, 32))
    for us, layer in enumerate(layers, 1):
        table[layer] = us
    assert len(layers) == 4
    assert table.latency_us(layers) == 1 + 2 + 3 + 4
    assert table.latency_us([layers[0]] * 3) == 3


def test_networks_tell_how_layers_add_up() -> None:
    """Networks that cost 1.2 times their layers and 7 more."""
    table = made_up()
    overhead = Overhead(2, 100, Size(64, 64))
    for count in (1, 3, 5, 8):
        layers_us = table.layers_us(CONVS[:count])
        table.networks.append(NetworkTime(overhead, layers_us, 1.2 * layers_us + 7))
    assert table.latency_us(CONVS, overhead) == pytest.approx(
        1.2 * table.layers_us(CONVS) + 7, rel=2e-3
    )
    # Another size has the rest that is most alike.
    near = Overhead(2, 101, Size(64, 32))
    assert table.latency_us([], near) == pytest.approx(7, rel=2e-2)


def test_a_single_network_tells_the_rest() -> None:
    overhead = Overhead(2, 100, Size(64, 64))
    fit = fit_networks((NetworkTime(overhead, 100, 130),))
    assert fit.factor == pytest.approx(1, abs=1e-6)
    assert fit.overheads_us[overhead] == pytest.approx(30, abs=1e-3)
    assert fit_networks(()) == NetworkFit(1.0, {})


def test_networks_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'table.json'
    table = LatencyTable.new(Execution('pytorch'))
    modules = [torch.nn.Sequential(torch.nn.Conv2d(3, n, 3)).eval() for n in (8, 16)]
    for module in modules:
        table[trace(module, Size(8, 8)).layers[0]] = 10.0 * module[0].out_channels
    timed = []
    monkeypatch.setattr(measuring, 'load_network', lambda graph, *_: graph)
    monkeypatch.setattr(
        measuring,
        'time_networks',
        lambda networks, *_: timed.append(1) or [85.0, 165.0][: len(networks)],
    )
    # One tells less than two, and two are enough.
    for asked in (modules[:1], modules, modules, modules[:1]):
        measure_networks(table, asked, Size(8, 8), path)
    assert len(timed) == 2
    loaded = LatencyTable.load(path)
    assert loaded.networks == table.networks
    assert [net.whole_us - net.layers_us for net in loaded.networks] == [5.0, 5.0]


def conv_module(channels: int) -> torch.nn.Module:
    """A network of one layer."""
    return torch.nn.Sequential(torch.nn.Conv2d(3, channels, 3)).eval()


def test_networks_of_equal_overhead_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two classifiers of one number of classes."""
    table, path = LatencyTable.new(Execution('pytorch')), tmp_path / 'table.json'
    modules = [conv_module(channels) for channels in (8, 16)]
    traces = [trace(module, Size(8, 8)) for module in modules]
    assert traces[0].overhead == traces[1].overhead
    for (layer,), _ in traces:
        table[layer] = 10.0 * layer.out_channels
    monkeypatch.setattr(measuring, 'load_network', lambda graph, *_: graph)
    monkeypatch.setattr(
        measuring,
        'time_networks',
        lambda graphs, *_: [12.0 * graph.model[0].out_channels for graph in graphs],
    )
    for module in modules:
        measure_networks(table, [module], Size(8, 8), path)
    for kept in (table, LatencyTable.load(path)):
        assert [net.whole_us for net in kept.networks] == [96, 192]
        assert [kept.find_network(*each).whole_us for each in traces] == [96, 192]
    # Tables used not to say which network a time is of; its layers' price tells.
    data = json.loads(path.read_text())
    for row in data['networks']:
        del row['digest']
    path.write_text(json.dumps(data))
    older = LatencyTable.load(path)
    assert [older.find_network(*each).whole_us for each in traces] == [96, 192]
    other = trace(conv_module(24), Size(8, 8))
    older[other.layers[0]] = 240.0
    assert older.find_network(*other) is None


def test_prices_stay_what_they_were() -> None:
    """Those of the first release, for a table of made-up prices."""

    def layers(width: float) -> list[Layer]:
        return list_layers(Network(get_spec('small', width)), Size(64, 64))

    table = LatencyTable.new(Execution('pytorch'))
    for layer in search_grid(layers(1.0)):
        noise = 0.8 + 0.4 * zlib.crc32(str(layer).encode()) / 2**32
        table[layer] = (2 + sum(layer.widths) / 40 + layer.madds / 2e4) * noise
    overhead = Overhead(4, 1000, Size(64, 64))
    for width, factor in ((1.0, 1.2), (0.5, 1.3), (0.75, 1.25)):
        us = table.layers_us(layers(width))
        table.networks.append(NetworkTime(overhead, us, factor * us + 30))
    expected = {
        0.35: (240.8150380419331, 366.86616720638904),
        0.6: (414.4205824165493, 556.3952118449233),
        0.75: (514.0599418810057, 665.1737227831669),
        0.9: (600.9728237036854, 760.0584542470939),
    }
    for width, (alone_us, whole_us) in expected.items():
        assert table.layers_us(layers(width)) == pytest.approx(alone_us, rel=1e-9)
        found_us = table.latency_us(layers(width), overhead)
        assert found_us == pytest.approx(whole_us, rel=1e-9)


def test_interpolates_linear_prices_exactly() -> None:
    table = made_up()
    for widths in ((24, 24), (40, 88), (96, 72)):
        layer = CONVS[0].with_widths(*widths)
        assert table.latency_us([layer]) == pytest.approx(linear_us(layer), rel=1e-6)


def test_guesses_warn() -> None:
    table = made_up()
    wider = CONVS[0].with_widths(192, 96)
    with pytest.warns(Remark, match='wider'):
        assert table.latency_us([wider]) == pytest.approx(linear_us(wider), rel=1e-6)
    with pytest.warns(Remark, match='is priced by'):
        made_up().latency_us([Layer('conv', 16, 16, 4, 4, act='relu')])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        table.latency_us([CONVS[0].with_widths(192, 192)])  # Said before, of its kind.
    with pytest.raises(UserError, match='nothing like depthwise 8 3x3'):
        table.latency_us([Layer('depthwise', 8, 8, 4, 4, kernel=3)])


def test_file_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'table.json'
    table = made_up()
    table.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loaded = LatencyTable.load(path)
    assert loaded.machine == table.machine
    assert loaded.layers == pytest.approx(table.layers)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda data: data.update(format='x'), 'not a latency table'),
        (lambda data: data.pop('layers'), "lacks the key 'layers'"),
        (lambda data: data.update(backend='abacus'), 'abacus'),
        (lambda data: data['layers'][0].update(colour='red'), 'damaged'),
        (lambda data: data['networks'].append(dict(rest=dict(kind='conv'))), 'damaged'),
        (lambda data: data.update(threads=0), 'threads=0 must be a positive'),
        (lambda data: data.update(backend=['x']), 'backend='),
        (lambda data: data.update(machine=[]), 'damaged'),
        (lambda data: data.update(layers={'a': 1}), 'damaged'),
        (lambda data: data['layers'].append(3), 'damaged'),
        (lambda data: data['layers'][0].update(us='3'), "us='3' is no number"),
        (lambda data: data['layers'][0].update(us=True), 'us=True is no number'),
        (lambda data: data['layers'][0].update(us=math.nan), 'NaN is no number'),
        (lambda data: data['layers'][0].update(us=math.inf), 'Infinity is no number'),
        (lambda data: data['layers'][0].update(in_channels=0), 'in_channels=0 must'),
        (lambda data: data['layers'][0].update(stride='2'), "stride='2' must"),
        (lambda data: data['layers'][0].update(residual='no'), "residual='no' is"),
    ],
)
def test_wrong_files(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / 'table.json'
    made_up().save(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=message) as caught:
        LatencyTable.load(path)
    assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match='no such table'):
        LatencyTable.load(tmp_path / 'none.json')


@pytest.mark.parametrize('us', [0, 0.0, -3, '1e999', '-1e999'])
def test_what_is_no_time_counts_as_not_measured(
    us: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, table = tmp_path / 'table.json', made_up()
    overhead = Overhead(2, 9, Size(8, 8))
    table.networks = [NetworkTime(overhead, us, 7.0) for us in (54321.0, 5.0)]
    table.layers[CONVS[2]] = 12345.0
    table.save(path)
    text = path.read_text().replace('12345.0', str(us)).replace('54321.0', str(us))
    path.write_text(text)
    with pytest.warns(Remark, match='1 layers and 1 networks have times'):
        found = LatencyTable.load(path)
    assert set(found.layers) == {*CONVS} - {CONVS[2]}
    assert [network.layers_us for network in found.networks] == [5.0]
    # And is measured anew.
    monkeypatch.setattr(measuring, 'time_layer', lambda *_: 3.0)
    with pytest.warns(Remark):
        table = open_table(path, Execution('onnxruntime'))
    assert measure_layers(table, CONVS, path) == 1
    assert LatencyTable.load(path).layers[CONVS[2]] == 3.0


def test_a_layer_that_is_lost_in_the_noise_has_a_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, 'load_layer', lambda *_: lambda batch: None)
    monkeypatch.setattr(measuring, 'time_turns', lambda *_, **__: [])
    monkeypatch.setattr(measuring, 'fast_us', lambda _: np.array([5.0, 6.0]))
    measuring._load_bare.cache_clear()
    assert measuring.time_layer(CONVS[0], Execution()) == 1e-3
    measuring._load_bare.cache_clear()


def test_two_measurements_do_not_share_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'new' / 'table.json'
    second = []

    def measure(*_: object) -> int:
        if not second:
            second.append(True)
            with pytest.raises(UserError, match='written by another process; wait'):
                measure_configs([], Execution(), path)
        return 0

    monkeypatch.setattr(measuring, 'measure_models', measure)
    measure_configs([], Execution(), path)
    measure_configs([], Execution(), path)
    # Nothing was written, so not even the folder is left.
    assert second and not path.parent.exists()


def test_what_another_process_measured_is_taken_over(tmp_path: Path) -> None:
    mine, other = made_up(), made_up()
    new = CONVS[0].with_widths(8, 8)
    other[new] = 4.0
    other.networks = [NetworkTime(Overhead(2, 9, Size(8, 8)), 5.0, 7.0)]
    assert mine.latency_us([new]) != 4.0
    mine.add(other)
    assert mine.layers[new] == 4.0 and mine.networks == other.networks


def test_other_machine(tmp_path: Path) -> None:
    path = tmp_path / 'table.json'
    table = made_up()
    here = table.machine['processor']
    table.machine = {**table.machine, 'processor': 'Pixel 1'}
    table.save(path)
    with pytest.warns(Remark, match='Pixel 1') as caught:
        LatencyTable.load(path)
    assert here in str(caught[0].message)
    with pytest.warns(Remark), pytest.raises(UserError, match='another machine'):
        open_table(path, Execution('onnxruntime'))


def test_other_backend(tmp_path: Path) -> None:
    made_up().save(tmp_path / 'table.json')
    with pytest.raises(UserError, match='not of openvino'):
        open_table(tmp_path / 'table.json', Execution('openvino'))


@pytest.mark.parametrize('backend', runtime.BACKENDS)
def test_every_backend_has_a_table(backend: str) -> None:
    table = LatencyTable.new(Execution(backend))
    assert table.is_of(table.machine) and backend in table.kept_path().name


def test_other_precision(tmp_path: Path) -> None:
    """As OpenVINO's bfloat16, of which a file's time is another."""
    float_table = LatencyTable.new(Execution('openvino'))
    table = LatencyTable.new(Execution('openvino', 1, 'bf16'))
    assert table.kept_path() != float_table.kept_path()
    table.save(tmp_path / 'table.json')
    assert LatencyTable.load(tmp_path / 'table.json').execution == table.execution
    with pytest.raises(UserError, match='is of openvino bf16 with 1 thread, not of'):
        open_table(tmp_path / 'table.json', Execution('openvino'))


def test_a_table_without_a_precision_is_of_float32(tmp_path: Path) -> None:
    path = tmp_path / 'table.json'
    made_up().save(path)
    data = json.loads(path.read_text())
    del data['precision']
    path.write_text(json.dumps(data))
    assert open_table(path, Execution()).layers.keys() == made_up().layers.keys()


@pytest.mark.parametrize(
    'given, message',
    [
        (('onnxruntime', 1, 'int8'), 'from stride 16 on.*--backend openvino'),
        (('onnxruntime', 1, 'bf16'), "'onnxruntime' has no bf16"),
        (('openvino', 0), '--threads 0 must be a positive'),
    ],
)
def test_what_cannot_be_priced_is_refused(given: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Execution(*given)


@pytest.mark.parametrize(
    'precision, unlike',
    [('int8', 0.05), pytest.param('bf16', 0.02, marks=BFLOAT16)],
)
def test_layers_are_computed_in_the_precision(precision: str, unlike: float) -> None:
    """They differ from float ones, by no more than such numbers do."""
    pytest.importorskip('openvino')
    if precision == 'int8':
        pytest.importorskip('nncf')
    layer = Layer('conv', 16, 24, 8, 8, act='hswish')
    batch = np.random.default_rng(1).standard_normal(input_shape(layer), np.float32)
    plain, other = (
        load_layer(layer, 2, False, Execution('openvino', 1, name))(batch)['output']
        for name in ('fp32', precision)
    )
    assert 0 < np.abs(other - plain).max() < unlike * np.abs(plain).max()


def test_goes_on_after_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'table.json'
    seen = []

    def time_layer(layer: Layer, *_: object) -> float:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(layer)
        return 1.0

    monkeypatch.setattr(measuring, 'time_layer', time_layer)
    with pytest.raises(KeyboardInterrupt):
        measure_layers(open_table(path, Execution('onnxruntime')), CONVS, path)
    first = list(seen)
    seen.clear()
    monkeypatch.setattr(
        measuring, 'time_layer', lambda layer, *_: seen.append(layer) or 1
    )
    table = open_table(path, Execution('onnxruntime'))
    assert list(table.layers) == first
    assert measure_layers(table, CONVS, path) == len(CONVS) - 4
    assert not set(seen) & set(first)
    assert set(LatencyTable.load(path).layers) == set(CONVS)


def test_missing_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'table.json'
    made_up().save(path)

    def require(package: str, extra: str) -> None:
        raise UserError(f'{package} is not installed; pip install {package}')

    monkeypatch.setattr(runtime, 'require', require)
    measuring._load_bare.cache_clear()
    layer = CONVS[0].with_widths(8, 8)
    with pytest.raises(UserError, match='onnxruntime is not installed') as caught:
        measure_layers(open_table(path, Execution('onnxruntime')), [layer], path)
    assert '\n' not in str(caught.value)
    assert set(LatencyTable.load(path).layers) == set(CONVS)


@pytest.mark.parametrize(
    'backend, precision',
    [
        ('pytorch', 'fp32'),
        ('onnxruntime', 'fp32'),
        pytest.param('openvino', 'int8', marks=pytest.mark.slow),
        pytest.param('pytorch', 'bf16', marks=BFLOAT16),
        pytest.param('openvino', 'bf16', marks=BFLOAT16),
    ],
)
def test_measures(tmp_path: Path, backend: str, precision: str) -> None:
    if backend != 'pytorch':
        pytest.importorskip(backend)
    if precision == 'int8':
        pytest.importorskip('nncf')
    layers = [
        CONVS[0],
        Layer('conv', 3, 8, 8, 8, kernel=3, stride=2, act='hswish'),
        Layer('conv', 8, 16, 8, 8, residual=True),
        Layer('depthwise', 16, 16, 8, 8, kernel=5, stride=2, act='relu6'),
        Layer('squeeze_excite', 16, 16, 8, 8, act='hsigmoid', hidden=8),
        Layer('linear', 16, 8, act='hswish'),
        Layer('pool', 16, 16, 8, 8),
        Layer('add', 16, 16, 8, 8),
    ]
    table = LatencyTable.new(Execution(backend, 1, precision))
    assert measure_layers(table, layers, tmp_path / 'table.json', 2) == len(layers)
    assert all(us >= 0 for us in table.layers.values())


def test_grid_holds_the_given_layers_and_goes_down() -> None:
    given = Layer('depthwise', 64, 64, 8, 8, kernel=3, act='relu')
    found = search_grid([given])
    assert found[0] == given
    assert len(found) == len(set(found))
    kernels = {layer.kernel for layer in found if layer.kind == 'depthwise'}
    assert kernels == {3, 5}
    assert min(layer.in_channels for layer in found) == 8
    assert any(layer.kind == 'squeeze_excite' for layer in found)
