"""Which output is which class, where projects disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mmnv3.errors import UserError

# The ids from 1 to 90 that COCO announced and never used.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED)
# The anchors of a cell in torchvision's detector.
_ANCHORS = 6

_State = Mapping[str, Tensor]


def background_last(state: _State) -> dict[str, Tensor]:
    """Moves a detector's first class, torchvision's background, to the end."""
    return _each_anchor(state, lambda rows: torch.cat([rows[:, 1:], rows[:, :1]], 1))


def background_first(state: _State) -> dict[str, Tensor]:
    """Moves a detector's last class, mmdet's background, to the front."""
    return _each_anchor(state, lambda rows: torch.cat([rows[:, -1:], rows[:, :-1]], 1))


def select_classes(state: _State, given: int | None, wanted: int) -> dict[str, Tensor]:
    """Leaves out what a config with fewer classes does not know.

    Args:
        state: Tensors under our names, a detector's background last.
        given: Outputs that they have, background included; None for no head.
        wanted: Classes of the config, without background.

    Raises:
        UserError: When it is not known which outputs those are.
    """
    detector = 'bbox_head.cls_convs.0.1.weight' in state
    if given is None or given == wanted + detector:
        return dict(state)
    if detector and (given, wanted) == (91, 80):
        # Ids from 1 stand from 0 here, and the background is last.
        kept = [number - 1 for number in COCO_IDS] + [90]
        return _each_anchor(state, lambda rows: rows[:, kept])
    if not detector and (given, wanted) == (1001, 1000):
        # TensorFlow's ImageNet classifiers begin with a background.
        return {
            key: value[1:] if key.startswith('head.fc.') else value
            for key, value in state.items()
        }
    raise UserError(
        f'the file has {given} outputs and the config {wanted} classes, and nobody '
        'says which are which; set num_classes to what the file has'
    )


def _each_anchor(state: _State, edit: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Edits the classes of every anchor of every level, (anchors, classes, ...)."""
    edited = dict(state)
    for key, value in state.items():
        if key.startswith('bbox_head.cls_convs.') and key.split('.')[3] == '1':
            rows = edit(value.unflatten(0, (_ANCHORS, -1)))
            edited[key] = rows.flatten(0, 1)
    return edited
