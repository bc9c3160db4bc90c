"""What several tests of the studies count, counted once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmnv3.benchmark import Complexity, count
from mmnv3.registry import MODELS
from mmnv3.size import Size
from studies.paper.page import render_page

CONFIGS = Path(__file__).parents[2] / 'configs'

CountConfig = Callable[..., Complexity]


@cache
def _count_config(name: str, size: Size, num_classes: int | None) -> Complexity:
    config = Config.fromfile(CONFIGS / f'{name}.py')
    if num_classes:
        config.model.bbox_head.num_classes = num_classes
    with (
        DefaultScope.overwrite_default_scope(config.default_scope),
        torch.device('meta'),
    ):
        model = MODELS.build(config.model)
    return count(model, size)


@pytest.fixture(scope='session')
def count_config() -> CountConfig:
    """Counts the model of a config: its name, a size, and a detector's classes."""
    return lambda name, size, num_classes=None: _count_config(name, size, num_classes)


@pytest.fixture(scope='session')
def paper_page() -> str:
    """The page of the paper's tables."""
    return render_page()
