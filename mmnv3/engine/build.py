"""From a config file to its model, without a Runner."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmnv3.engine.checkpoints import (
    compare_states,
    describe_older_anchors,
    read_checkpoint,
)
from mmnv3.engine.config import read_config
from mmnv3.errors import Remark, UserError


def build_model(
    config: str | Config,
    options: dict | None = None,
    checkpoint: str | None = None,
) -> nn.Module:
    """Builds the model of a config, in eval mode.

    Args:
        config: The config, or its file.
        options: Settings to override in a file.
        checkpoint: Weights, a file or an address that mmengine knows; those of another
            project are converted. Random ones, always the same, without.

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
    model: Any = new_model(config)
    model.cfg, model.dataset_meta = config, None
    if checkpoint is not None:
        # What the config would start a training from need not be there.
        state, meta = read_checkpoint(checkpoint)
        if compare_states(model.state_dict(), state):
            # It knows all of our networks, and so imports every toolbox.
            from mmnv3.convert.foreign import convert_for

            if found := convert_for(model, state, checkpoint):
                converted, remarks = found
                state = converted.state
                for text in remarks:
                    warnings.warn(text, Remark, stacklevel=2)
        if differences := compare_states(model.state_dict(), state):
            raise UserError(
                f'{checkpoint} does not fit {config.filename}: {differences}'
            )
        model.load_state_dict(state)
        model.dataset_meta = meta.get('dataset_meta')
        if older := describe_older_anchors(model, meta):
            warnings.warn(f'{checkpoint}: {older}', Remark, stacklevel=2)
    else:
        with quiet_logger():
            model.init_weights()
    return model.eval()


def new_model(config: Config) -> nn.Module:
    """The model of a config as its class makes it, in training mode.

    Args:
        config: The config; stays as it is.
    """
    # mmdet's detectors write train_cfg and test_cfg into what they get for their heads.
    model = copy.deepcopy(config.model)
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
        return MODELS.build(model)


@contextmanager
def quiet_logger() -> Iterator[None]:
    """Keeps mmengine's pages, a line for every layer or parameter, to itself."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def output_tensors(outputs: Any) -> Iterator[Tensor]:
    """The tensors of whatever lists a model returns, in their order."""
    if isinstance(outputs, Tensor):
        yield outputs
        return
    for part in outputs:
        yield from output_tensors(part)
