"""A machine whose latencies follow a law, and what several tests build."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

from mmnv3.arch.layers import Layer
from mmnv3.engine.config import read_config
from mmnv3.search.latency import measuring
from mmnv3.search.latency.tracing import trace
from mmnv3.size import Size
from tests.conftest import ROOT
from tests.engine.conftest import config as detection_config
from tests.engine.conftest import demo_data
from tests.engine.test_classification_training import folder as imagenet
from tests.engine.test_segmentation_training import segmentation_config

__all__ = ['demo_data', 'detection_config', 'imagenet', 'segmentation_config']

SIZE = Size(320, 320)
HERE = dict(num_workers=0, persistent_workers=False)


def law(layer: Layer) -> float:
    """Exactly interpolated, since it is linear in widths and their product."""
    return 1 + sum(layer.widths) / 50 + layer.madds / 1e5


@pytest.fixture
def machine(monkeypatch) -> None:
    """One whose networks take half as long again as their layers, and 10 µs."""
    monkeypatch.setattr(measuring, 'time_layer', lambda layer, *_: law(layer))
    monkeypatch.setattr(measuring, 'load_network', lambda graph, *_: graph)

    def time_networks(graphs, *_):
        return [1.5 * sum(map(law, trace(g, SIZE).layers)) + 10 for g in graphs]

    monkeypatch.setattr(measuring, 'time_networks', time_networks)


@pytest.fixture(scope='session')
def read() -> Callable[[str], Config]:
    """Reads one of our configs by its name, once; not to be changed."""
    return cache(lambda name: read_config(f'{ROOT}/configs/{name}.py'))


@pytest.fixture(params=['mmdet', 'mmseg', 'mmpretrain'])
def tiny_config(request) -> Config:
    """A config of every toolbox on a few pictures, loaded in this process."""
    path: Path = {
        'mmdet': lambda: request.getfixturevalue('detection_config'),
        'mmseg': lambda: request.getfixturevalue('segmentation_config'),
        'mmpretrain': lambda: request.getfixturevalue('imagenet') / 'tiny.py',
    }[request.param]()
    return read_config(str(path), dict(train_dataloader=HERE, val_dataloader=HERE))
