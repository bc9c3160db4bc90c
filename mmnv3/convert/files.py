"""Reading foreign files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from mmnv3.convert.formats import FORMATS, PROJECTS
from mmnv3.convert.recognition import is_ignored
from mmnv3.convert.tensorflow import to_variables
from mmnv3.engine.checkpoints import read_checkpoint
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint.

    Args:
        path: As of :func:`mmnv3.engine.checkpoints.read_checkpoint`.

    Returns:
        Its state dict.

    Raises:
        UserError: As :func:`mmnv3.engine.checkpoints.read_checkpoint`.
    """
    state = read_checkpoint(path).state
    # Statistics of pictures, which some wrap a model with.
    return {k: v for k, v in state.items() if not k.startswith('data_preprocessor.')}


def write_variables(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Writes a network as an ``.npz`` of TensorFlow's variables.

    Args:
        path: The file, which appears whole or not at all.
        state: Tensors, as of ``from_ours(..., 'tensorflow')``.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **to_variables(state))  # type: ignore[arg-type]
    with whole_or_absent(path) as partial:
        partial.write_bytes(buffer.getbuffer())


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
