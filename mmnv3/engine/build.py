"""From a config file to its model, without a Runner."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from torch import nn

from mmnv3.engine.config import read_config
from mmnv3.engine.fit_hook import describe_misfit
from mmnv3.engine.launch import existing_checkpoint
from mmnv3.errors import UserError


def build_model(
    config: str | Config,
    options: dict | None = None,
    checkpoint: str | None = None,
) -> nn.Module:
    """Builds the model of a config, in eval mode.

    Args:
        config: The config, or its file.
        options: Settings to override in a file.
        checkpoint: Weights; random ones, always the same, without.

    Returns:
        The model. As those of OpenMMLab's ``init_model`` it has ``cfg``, the config,
        and ``dataset_meta``, what the checkpoint remembers of its data set.

    Raises:
        UserError: When there is no such config or checkpoint, or when the checkpoint
            is another network's.
    """
    torch.manual_seed(0)
    if not isinstance(config, Config):
        config = read_config(config, options)
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
        model = MODELS.build(config.model)
    model.cfg, model.dataset_meta = config, None
    if not checkpoint:
        # Initialisation logs a page for every layer.
        MMLogger.get_current_instance().setLevel('WARNING')
        model.init_weights()
    else:
        # What the config would start a training from need not be there.
        given = _read_checkpoint(checkpoint)
        state = given.get('state_dict', given)
        misfit, _ = describe_misfit(model.state_dict(), state)
        if misfit:
            raise UserError(f'{checkpoint} does not fit {config.filename}: {misfit}')
        model.load_state_dict(state)
        model.dataset_meta = (given.get('meta') or {}).get('dataset_meta')
    return model.eval()


def _read_checkpoint(checkpoint: str) -> Mapping:
    path = existing_checkpoint(checkpoint)
    try:
        given = CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    except Exception as error:  # A strange file makes the unpickler raise anything.
        reason = str(error).partition('\n')[0].split('. ')[0]
        raise UserError(f'{path} is not a checkpoint ({reason})') from None
    if not isinstance(given, Mapping):
        raise UserError(f'{path} is not a checkpoint (it holds no state dict)')
    return given
