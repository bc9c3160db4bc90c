"""Checkpoints: opening somebody's, comparing it with a network, and writing ours."""

from __future__ import annotations

import io
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent


class Checkpoint(NamedTuple):
    """What a file holds.

    Args:
        state: The state dict: a network's tensors by name.
        meta: What training noted beside it, as ``dataset_meta``; empty where it noted
            nothing.
    """

    state: dict[str, Tensor]
    meta: Mapping[str, Any]


def existing_checkpoint(path: str) -> str:
    """Returns the path of a local file, ``~`` resolved; web addresses pass.

    Raises:
        UserError: When there is no such file.
    """
    if '://' in path:
        return path
    if not Path(path).expanduser().is_file():
        raise UserError(f'{path}: there is no such checkpoint')
    return os.path.expanduser(path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a file of weights, and runs nothing that it may hold besides.

    Args:
        path: A ``.safetensors`` file, another that PyTorch wrote (of training, or a
            bare state dict), or an address that mmengine knows, as
            ``torchvision://mobilenet_v3_large``.

    Returns:
        The state dict on the CPU, see :func:`take_state`, and what is noted beside it.

    Raises:
        UserError: When there is no such file, when it is damaged, when it holds more
            than weights, or none.
    """
    path = existing_checkpoint(str(path))
    try:
        given = _read(path)
    except Exception as error:  # A strange file makes the unpickler raise anything.
        text = ' '.join(str(error).split())
        found = re.search(r'unsupported global:? (?:GLOBAL )?(\S+)', text, re.I)
        if found or (isinstance(error, UnpicklingError) and _is_pickle(path)):
            wish = f', it asks for {found[1]}' if found else ''
            raise UserError(
                f'{path}: not a file of weights only{wish}; save its state_dict alone'
            ) from None
        reason = f'{type(error).__name__}: {text.split(". ")[0]}'.removesuffix(': ')
        raise UserError(
            f'{path} cannot be read as a checkpoint, it may be damaged ({reason})'
        ) from None
    state, meta = take_state(given, path), given.get('meta')
    return Checkpoint(state, meta if isinstance(meta, Mapping) else {})


def take_state(content: object, name: str) -> dict[str, Tensor]:
    """Takes the state dict out of what a checkpoint holds.

    Args:
        content: What was read: the state dict, or a dict that has it under
            ``state_dict`` or ``model``.
        name: Of the file, for the error.

    Returns:
        Its tensors, without the ``module.`` that a wrapper for several processes puts
        before each name.

    Raises:
        UserError: When there is none.
    """
    state = content if isinstance(content, Mapping) else {}
    for key in ('state_dict', 'model'):
        if isinstance(state.get(key), Mapping):
            state = state[key]
    tensors = OrderedDict(
        (key.removeprefix('module.'), value)
        for key, value in state.items()
        if isinstance(value, Tensor)
    )
    if not tensors:
        raise UserError(f'{name} holds no state dict; give a checkpoint of training')
    # PyTorch keeps there in which version every layer wrote its tensors.
    for key, version in getattr(state, '_metadata', {}).items():
        versions = vars(tensors).setdefault('_metadata', OrderedDict())
        versions[key.removeprefix('module.')] = version
    return tensors


def _read(path: str) -> Any:
    if '://' in path:
        return CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    if path.endswith('.safetensors'):
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location='cpu', weights_only=True)


def _is_pickle(path: str) -> bool:
    """Whether a file begins as Python's own format, which can hold anything."""
    if '://' in path:
        return False
    with open(path, 'rb') as file:
        return file.read(1) == b'\x80'


def write_checkpoint(
    path: str | Path,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any] | None = None,
    bare: bool = False,
) -> None:
    """Writes a checkpoint, which appears whole or not at all.

    Args:
        path: The file; its folder is made.
        state: Tensors by name.
        meta: What to note beside them, as mmengine's checkpoints have it.
        bare: Whether to write the state dict alone, as other projects read it.

    Raises:
        OSError: When it cannot be written, as on a full disk.
    """
    path = Path(path)
    content = dict(state) if bare else dict(meta=dict(meta or {}), state_dict=state)
    # torch itself reports a full disk without saying so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_absent(path) as partial:
        partial.write_bytes(buffer.getbuffer())


@dataclass(frozen=True)
class KeyDifferences:
    """Where the tensors of a file are not those of a network, by their names.

    It is true where there is any difference.

    Args:
        missing: In the file.
        unexpected: Unknown to the network.
        misshaped: Of another shape, each with both shapes behind its name.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    def __str__(self) -> str:
        """How many of each kind, and the first of each, in one line."""
        return '; '.join(
            f'{len(found)} {kind} ({found[0]}{", …" if len(found) > 1 else ""})'
            for kind, found in (
                ('of another shape', self.misshaped),
                ('missing in the file', self.missing),
                ('unknown to the model', self.unexpected),
            )
            if found
        )


def compare_states(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> KeyDifferences:
    """Compares a file with a network.

    Args:
        wanted: The network's state dict.
        given: The file's.
    """
    return KeyDifferences(
        missing=tuple(key for key in wanted if key not in given),
        unexpected=tuple(key for key in given if key not in wanted),
        misshaped=tuple(
            describe_shapes(key, given[key].shape, wanted[key].shape)
            for key in wanted
            if key in given and given[key].shape != wanted[key].shape
        ),
    )


def describe_shapes(key: str, given: Sequence[int], wanted: Sequence[int]) -> str:
    """Names a tensor, its shape in a file, and that in the network."""
    return f'{key} is {tuple(given)}, wanted {tuple(wanted)}'


def find_resumable(work_dir: str | Path) -> Path | None:
    """The newest checkpoint of a work directory, or None.

    mmengine looks the name up in ``last_checkpoint``, which a kill can leave empty;
    the checkpoints themselves are whole or absent, so they are the better witness.

    Args:
        work_dir: Where training wrote ``iter_*.pth`` or ``epoch_*.pth``.

    Raises:
        UserError: When the directory holds numbered checkpoints of both kinds.
    """
    found = [
        (kind, int(number), path)
        for path in Path(work_dir).glob('*_*.pth')
        for kind, number in [path.stem.split('_')[:2]]
        if kind in ('iter', 'epoch') and number.isdigit()
    ]
    if len({kind for kind, *_ in found}) > 1:
        raise UserError(
            f'{work_dir} holds iter_*.pth and epoch_*.pth; name the one to resume from'
        )
    return max(found)[-1] if found else None
