"""What a config's model is for, told without building it."""

from __future__ import annotations

from collections.abc import Mapping

from mmnv3.deploy.info import CLASSIFICATION, DETECTION, SEGMENTATION

# The part of a toolbox's model that nobody else's has.
_PARTS = {
    'bbox_head': DETECTION,
    'decode_head': SEGMENTATION,
    'head': CLASSIFICATION,
}


def config_task(model: Mapping) -> tuple[str, Mapping] | None:
    """The task of a config's model, and its settings of the head that does it.

    Args:
        model: The config's ``model``.

    Returns:
        None for models that have no such part.
    """
    return next(((_PARTS[part], model[part]) for part in _PARTS if part in model), None)
