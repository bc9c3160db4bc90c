"""Reading foreign files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mmnv3.convert.formats import FORMATS, PROJECTS
from mmnv3.convert.recognition import is_ignored
from mmnv3.convert.tflite import read_tflite
from mmnv3.engine.checkpoints import existing_checkpoint, read_checkpoint
from mmnv3.errors import UserError


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint: ``.pth``, ``.safetensors``, ``.tflite``.

    Args:
        path: A file, or an address that mmengine knows, as
            ``torchvision://mobilenet_v3_large``.

    Returns:
        Its state dict.

    Raises:
        UserError: As :func:`mmnv3.engine.checkpoints.read_checkpoint`.
    """
    if str(path).endswith('.tflite'):
        return read_tflite(existing_checkpoint(str(path)))
    state = read_checkpoint(path).state
    # Statistics of pictures, which some wrap a model with.
    return {k: v for k, v in state.items() if not k.startswith('data_preprocessor.')}


def is_foreign(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the key of some other project."""
    return any(form.mark in state for form in FORMATS)


def guess_project(path: str | Path, state: Mapping[str, Tensor]) -> str:
    """Says which project a file is from, by its name and its keys.

    Raises:
        UserError: When nothing tells.
    """
    path = str(path)
    if path.endswith('.tflite'):
        return 'tflite'
    forms = [f for f in FORMATS if f.mark in state and f.project != 'tflite']
    # mmpretrain and mmseg name the backbone alike; mmseg's heads tell them apart.
    heads = [f for f in forms if any(is_ignored(key, f) for key in state)]
    if forms:
        return (heads or forms)[0].project
    raise UserError(
        f'{path}: its keys tell no project; name one of {", ".join(PROJECTS)}'
    )
