"""A teacher's part of the loss, against the same computed from outside."""

from types import SimpleNamespace

import pytest
import torch

from mmnv3.engine import DistillationHook
from mmnv3.engine.build import build_model, output_tensors
from mmnv3.errors import UserError
from tests.search.conftest import (  # noqa: F401, fixtures
    demo_data,
    detection_config,
    imagenet,
    segmentation_config,
    tiny_config,
)

HERE = {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False}


@pytest.fixture
def config(tiny_config, tmp_path):  # noqa: F811
    path = tmp_path / 'teacher.py'
    path.write_text(tiny_config.pretty_text, encoding='utf-8')
    return path


def test_the_loss_has_what_is_missing_to_the_teacher(config, tmp_path):
    teacher = build_model(str(config)).train()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.01)
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    model = build_model(str(config)).train()
    keys = list(model.state_dict())
    hook = DistillationHook(str(config), str(tmp_path / 'teacher.pth'), weight=3.0)
    batch = next(iter(_loader(model.cfg)))
    data = model.data_preprocessor(batch, True)
    before = model(**data, mode='loss')
    runner = SimpleNamespace(model=model)
    hook.before_train(runner)
    after = model(**data, mode='loss')
    mine, other = (
        torch.cat([t.flatten() for t in output_tensors(each(**data, mode='tensor'))])
        for each in (model, teacher.eval())
    )
    wanted = 3.0 * (mine - other).square().mean()
    # Differences of numbers of many times their size.
    torch.testing.assert_close(
        after.pop('loss_distillation'), wanted, rtol=1e-3, atol=0
    )
    assert wanted > 0 and after.keys() == before.keys()
    assert list(model.state_dict()) == keys
    hook.after_train(runner)
    assert 'loss_distillation' not in model(**data, mode='loss')


def _loader(config):
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    with DefaultScope.overwrite_default_scope(config.default_scope):
        return Runner.build_dataloader(config.train_dataloader, seed=0)


def test_what_cannot_teach_is_refused(detection_config, tmp_path):  # noqa: F811
    other = tmp_path / 'other.py'
    other.write_text(
        f"_base_ = ['{detection_config}']\nmodel = dict(bbox_head=dict(num_classes=3))"
    )
    state = build_model(str(other)).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    model = build_model(str(detection_config), HERE).train()
    hook = DistillationHook(str(other), str(tmp_path / 'other.pth'))
    hook.before_train(SimpleNamespace(model=model))
    data = model.data_preprocessor(next(iter(_loader(model.cfg))), True)
    with pytest.raises(UserError, match='same classes, anchors and input size'):
        model(**data, mode='loss')
    with pytest.raises(UserError, match='Identity has none of bbox_head'):
        hook.before_train(SimpleNamespace(model=torch.nn.Identity()))
