"""Reading foreign files, and writing ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmnv3.convert.formats import FORMATS, PROJECTS
from mmnv3.convert.recognition import is_ignored
from mmnv3.convert.tflite import read_tflite
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint: ``.pth``, ``.safetensors``, ``.tflite``.

    Args:
        path: A file, or an address that mmengine knows, as
            ``torchvision://mobilenet_v3_large``.

    Returns:
        Its state dict. Pickled files are read with ``weights_only=True``.

    Raises:
        UserError: When there is no such file or it holds no state dict.
    """
    path = str(path)
    if '://' not in path and not Path(path).is_file():
        raise UserError(f'{path}: there is no such checkpoint')
    if path.endswith('.tflite'):
        return read_tflite(path)
    if path.endswith('.safetensors'):
        from safetensors.torch import load_file

        return load_file(path)
    try:
        given = CheckpointLoader.load_checkpoint(path, 'cpu')
    except Exception as error:  # A strange file makes the unpickler raise anything.
        reason = str(error).split('. ')[0].partition('\n')[0]
        raise UserError(f'{path}: not a file of weights only ({reason})') from None
    for name in ('state_dict', 'model'):
        if isinstance(given, Mapping) and isinstance(given.get(name), Mapping):
            given = given[name]
    if not isinstance(given, Mapping) or not given:
        raise UserError(f'{path} holds no state dict')
    state = {
        key.removeprefix('module.'): value
        for key, value in given.items()
        if isinstance(value, Tensor)
    }
    # Statistics of pictures, which some wrap a model with.
    return {k: v for k, v in state.items() if not k.startswith('data_preprocessor.')}


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


def write_checkpoint(
    state: Mapping[str, Tensor], path: str | Path, meta: dict, bare: bool = False
) -> None:
    """Writes a checkpoint, which appears whole or not at all.

    Args:
        state: Tensors.
        path: The file.
        meta: Where they come from, as mmengine's checkpoints have it.
        bare: Whether to write the state dict alone.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(state) if bare else dict(meta=meta, state_dict=dict(state))
    with whole_or_absent(path) as partial:
        torch.save(content, partial)
