"""A head and a data set agree about the classes, or it is said."""

from types import SimpleNamespace

import pytest
import torch

from mmnv3.engine import ClassCountHook
from mmnv3.errors import UserError


def check(metainfo: dict | None) -> None:
    """Begins an epoch with a head of three classes."""
    model = torch.nn.Sequential(torch.nn.Identity())
    model[0].num_classes = 3
    dataset = SimpleNamespace(metainfo=metainfo)
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(model=model, train_dataloader=loader)
    ClassCountHook().before_train_epoch(runner)


def test_they_agree() -> None:
    check(dict(classes=('a', 'b', 'c')))
    with pytest.raises(UserError, match=r'\(3\) .* 2\).*: set num_classes'):
        check(dict(classes=('a', 'b')))


def test_where_there_are_no_data_there_is_nothing_to_compare() -> None:
    """mmpretrain's vis_scheduler.py steps through a training without any."""
    check(None)
