"""The check of a table knows what the config's own network took for it."""

from pathlib import Path

import pytest

from mmnv3.search.latency import check, measuring
from mmnv3.search.latency.check import check_configs
from mmnv3.search.latency.config_models import ConfigModel
from mmnv3.search.latency.grid import search_grid
from mmnv3.search.latency.measuring import measure_layers, measure_networks
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.latency.tracing import trace
from mmnv3.size import Size
from tests.conftest import ROOT

SIZE = Size(64, 64)


def test_pace_is_of_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """On a machine that has become a tenth slower; Large and Small do the same."""
    pace = 1.0
    path = tmp_path / 'table.json'

    def time_networks(graphs: list, *_: object) -> list[float]:
        # A microsecond for a thousand multiply-adds.
        madds = [sum(layer.madds for layer in trace(g, SIZE).layers) for g in graphs]
        return [pace * each / 1e3 for each in madds]

    for module in (measuring, check):
        monkeypatch.setattr(module, 'load_network', lambda graph, *_: graph)
        monkeypatch.setattr(module, 'time_networks', time_networks)
    monkeypatch.setattr(
        measuring, 'time_layer', lambda layer, *_: 1e-3 * (layer.madds or 1)
    )
    configs = [f'{ROOT}/configs/mnv3_{name}_imagenet.py' for name in ('large', 'small')]
    models = [ConfigModel.read(config, SIZE) for config in configs]
    traces = [trace(each.model, SIZE) for each in models]
    assert traces[0].overhead == traces[1].overhead
    table = LatencyTable.new(Execution('pytorch'))
    grid = search_grid([layer for found in traces for layer in found.layers])
    measure_layers(table, grid, path)
    for each in models:
        measure_networks(table, [each.model], SIZE, path)
    pace = 1.1
    check_configs(configs[1:], path, SIZE, specs=2, plot=tmp_path / 'plot.png')
    line = capsys.readouterr().out.splitlines()[0]
    assert 'the config itself takes 1.10' in line
    assert 'at whose pace: median error 0.0 %' in line
    assert (tmp_path / 'plot.png').stat().st_size > 1000
