"""Checkpoints: opening somebody's, comparing it with a network, and writing ours."""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmnv3.errors import Remark, UserError
from mmnv3.files import whole_or_absent

# What layers call their parameters and statistics, all of which are float.
_FLOAT = ('weight', 'bias', 'running_mean', 'running_var')

# Of tensors that a layer can hold.
_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)


# Under which trainings note the version of mmnv3; 0.1 did not.
VERSION_KEY = 'mmnv3_version'


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
        UserError: When the name is empty, or there is no such file.
    """
    if not path:
        raise UserError('the name of the checkpoint is empty; name a file')
    if '://' in path:
        return path
    if not os.path.isfile(os.path.expanduser(path)):
        if os.path.isfile(f'{os.path.expanduser(path)}.index'):
            raise UserError(
                f'{path} is a checkpoint of TensorFlow, which only TensorFlow reads; '
                'give the frozen graph that is published beside it'
            )
        raise UserError(f'{path}: there is no such checkpoint')
    return os.path.expanduser(path)


def read_checkpoint(path: str | Path, resume: bool = False) -> Checkpoint:
    """Reads a file of weights, and runs nothing that it may hold besides.

    Args:
        path: A file that PyTorch wrote (of training, or a bare state dict), another
            of :data:`OTHER_FILES`, or an address that mmengine knows, as
            ``torchvision://mobilenet_v3_large``.
        resume: Whether a training shall go on from it, see
            :func:`check_training_state`.

    Returns:
        The state dict on the CPU, see :func:`take_state`, and what is noted beside it.

    Raises:
        UserError: When there is no such file, when it is damaged, when it holds more
            than weights, or none that a network can run with.
    """
    path = existing_checkpoint(str(path))
    try:
        given = _read(path)
    except UserError:
        raise
    except Exception as error:  # A strange file makes the unpickler raise anything.
        text = ' '.join(str(error).split())
        found = re.search(r'unsupported global:? (?:GLOBAL )?(\S+)', text, re.I)
        if found or (isinstance(error, UnpicklingError) and _is_pickle(path)):
            wish = f', it asks for {found[1]}' if found else ''
            raise UserError(
                f'{path}: not a file of weights only{wish}; save its state_dict alone'
            ) from None
        if '://' in path:
            raise UserError(
                f'{path} cannot be fetched ({type(error).__name__}: {text:.200}); '
                'download it where there is a network, and give the file'
            ) from None
        reason = f'{type(error).__name__}: {text.split(". ")[0]}'.removesuffix(': ')
        raise UserError(
            f'{path} cannot be read as a checkpoint, it may be damaged ({reason})'
        ) from None
    state = take_state(given, path)
    if resume:
        check_training_state(given, path)
    return Checkpoint(state, _take_meta(given))


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
        UserError: When there is none, or when a network cannot run with it: a tensor
            is sparse or quantised, a weight is no float, or a number is not finite.
    """
    state = content if isinstance(content, Mapping) else {}
    for key in ('state_dict', 'model'):
        if isinstance(state.get(key), Mapping):
            state = state[key]
    tensors: OrderedDict[str, Tensor] = OrderedDict()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            continue
        if not isinstance(key, str):
            raise UserError(
                f'{name}: the tensor {key!r} has no name; give a checkpoint of training'
            )
        _check_tensor(value, key, name)
        key = key.removeprefix('module.')
        if key in tensors:
            raise UserError(
                f'{name} holds {key} twice, with and without "module." before it; give '
                'a checkpoint of training'
            )
        tensors[key] = value
    if not tensors:
        raise UserError(f'{name} holds no state dict; give a checkpoint of training')
    # PyTorch keeps there in which version every layer wrote its tensors.
    versions = getattr(state, '_metadata', None)
    if isinstance(versions, Mapping):
        vars(tensors)['_metadata'] = OrderedDict(
            (key.removeprefix('module.'), version)
            for key, version in versions.items()
            if isinstance(key, str) and isinstance(version, Mapping)
        )
    return tensors


def _check_tensor(value: Tensor, key: str, name: str) -> None:
    """Refuses what no layer of a network can take."""
    if value.layout is not torch.strided or value.is_meta or value.dtype not in _DTYPES:
        kind = 'empty' if value.is_meta else f'{value.layout} {value.dtype}'
        raise UserError(
            f'{name}: {key} is no plain tensor ({kind.replace("torch.", "")}); save '
            'the weights as float'
        )
    if key.rpartition('.')[2] in _FLOAT and not value.is_floating_point():
        raise UserError(
            f'{name}: {key} is {_name_dtype(value)}, and weights are float; save them '
            'as float32'
        )
    if not torch.isfinite(value).all():
        raise UserError(
            f'{name}: {key} is not finite (NaN or infinite), the training diverged; '
            'give an earlier checkpoint'
        )


def _name_dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')


def _take_meta(content: Mapping) -> dict[str, Any]:
    """What is noted beside the weights, as far as it is what it should be."""
    meta = content.get('meta')
    meta = dict(meta) if isinstance(meta, Mapping) else {}
    dataset = meta.pop('dataset_meta', None)
    if isinstance(dataset, Mapping):
        meta['dataset_meta'] = dataset
    return meta


# What mmengine reads to go on with a training, and what it must be.
_TRAINING: tuple[tuple[tuple[str, ...], type], ...] = (
    (('meta', 'iter'), int),
    (('meta', 'epoch'), int),
    (('message_hub',), dict),
    (('message_hub', 'log_scalars'), dict),
    (('message_hub', 'runtime_info'), dict),
    (('message_hub', 'resumed_keys'), dict),
    (('optimizer',), dict),
)


def check_training_state(content: Mapping, name: str) -> None:
    """Refuses to go on with a training from what does not say where it was.

    Args:
        content: Of a checkpoint.
        name: Of the file, for the error.

    Raises:
        UserError: Names what is missing, or of another kind than mmengine writes it.
    """
    for path, kind in _TRAINING:
        found: Any = content
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None and path[0] in ('meta', 'optimizer'):
            raise UserError(
                f'{name} holds weights and not where training was; start from them '
                'with --cfg-options load_from=FILE instead of --resume'
            )
        if (
            not isinstance(found, kind)
            or isinstance(found, bool)
            or (isinstance(found, int) and found < 0)
        ):
            raise UserError(
                f'{name}: {".".join(path)} is {found!r:.40}, and training cannot go on '
                'from it; resume from another checkpoint'
            )
    if (seed := content['meta'].get('seed')) is not None and not _is_count(seed):
        raise UserError(
            f'{name}: meta.seed is {seed!r:.40}, and training cannot go on from it; '
            'resume from another checkpoint'
        )
    if found := _wrong_note(content['optimizer']):
        raise UserError(
            f'{name}: its optimizer notes {found} for a parameter, and training cannot '
            'go on from it; resume from another checkpoint'
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _wrong_note(state: Any) -> str | None:
    """What an optimiser, or one of several, cannot have noted of its parameters."""
    if not isinstance(state, Mapping):
        return f'{state!r:.40}'
    if 'param_groups' not in state:
        return next(filter(None, map(_wrong_note, state.values())), None)
    notes = state.get('state')
    if not isinstance(notes, Mapping):
        return f'{notes!r:.40}'
    for each in notes.values():
        if not isinstance(each, Mapping):
            return f'{each!r:.40}'
        for key, value in each.items():
            if key == 'step' and not isinstance(value, Tensor):
                fits = type(value) in (int, float) and 0 <= value < math.inf
            elif isinstance(value, Tensor):
                fits = bool(torch.isfinite(value).all())
                fits = fits and (key != 'step' or bool((value >= 0).all()))
            else:
                fits = value is None
            if not fits:
                text = ' '.join(str(value).split())
                return f'{key} = {text:.40}'
    return None


# In which versions of PyTorch differ. All but one say how an optimiser computes, not
# what: AdamW differs from Adam in the decay alone.
_COMPUTING = {
    *('capturable', 'decoupled_weight_decay', 'differentiable', 'foreach', 'fused'),
    *('maximize', 'verbose'),
}
_DECAY = 'decoupled_weight_decay'
# Settings of schedulers that are divided by.
_DIVISORS = {'start_factor', 'total_iters', 'T_max'}


def compare_training(wanted: Mapping, given: Mapping) -> str | None:
    """Says why a training cannot go on with the optimiser and schedulers of another.

    PyTorch and mmengine would fail in the middle of it, or take what is there: the
    settings of another optimiser, and of the schedulers as many as both have.

    Args:
        wanted: What the config builds: ``optimizer``, the state of its wrapper, and
            ``param_schedulers``, theirs, where it has some.
        given: What a checkpoint holds under these names.

    Returns:
        What differs; None where nothing does.
    """
    for what in ('optimizer', 'param_schedulers'):
        mine, theirs = (_training_parts(side.get(what)) for side in (wanted, given))
        if mine.keys() != theirs.keys():
            return f'its {what} is of {_and(theirs)}, and this config has {_and(mine)}'
        for name, own in mine.items():
            if found := _compare_parts(own, theirs[name], name):
                return found
    return None


def _training_parts(state: Any) -> dict[str, list]:
    """Parameter groups or schedulers, by the name of their optimiser where several."""
    if isinstance(state, Mapping) and 'param_groups' in state:
        return {'parameter groups': state['param_groups']}
    if isinstance(state, Mapping):
        return {
            f'{part} of {name}': each
            for name, value in state.items()
            for part, each in _training_parts(value).items()
        }
    return {'schedulers': state or []}


def _and(parts: Mapping[str, list]) -> str:
    return ' and '.join(parts) or 'none'


def _compare_parts(wanted: list, given: Any, kind: str) -> str | None:
    if not isinstance(given, list) or not all(isinstance(i, Mapping) for i in given):
        return f'its {kind} are {given!r:.40}'
    if len(wanted) != len(given):
        return f'it has {len(given)} {kind}, and this config {len(wanted)}'
    for own, other in zip(wanted, given):
        mine, theirs = (_settings(part) for part in (own, other))
        if mine != theirs:
            return (
                f'its {kind} have the settings {", ".join(sorted(theirs))}, and those '
                f'of this config {", ".join(sorted(mine))}'
            )
        for key in own.keys() & other.keys() - {'params'}:
            # Of counts `own` has the start. One that has not begun is at -1.
            fits = (
                other[key] == -1 or _is_count(other[key])
                if key.endswith('_step')
                else _is_like(own[key], other[key])
            )
            fits = fits and (key not in _DIVISORS or other[key] > 0)
            if not fits or (key == _DECAY and own[key] is not other[key]):
                return f'{key} of its {kind} is {str(other[key])[:40]!r}'
        if own.get('params') != other.get('params'):
            return f'its {kind} are of other parameters than those of this config'
    return None


def _is_like(own: Any, other: Any) -> bool:
    """Whether a setting, or a note of a scheduler, is what it should be."""
    if own is None:
        # Chosen by PyTorch, or not known before the first step.
        return other is None or isinstance(other, bool) or _is_like(-1.0, other)
    if isinstance(own, bool):
        return other is None or isinstance(other, bool)
    if isinstance(own, (int, float)):
        if not isinstance(other, (int, float)) or isinstance(other, bool):
            return False
        # Where nothing was found yet, the best is infinite.
        if math.isinf(own):
            return not math.isnan(other)
        # PyTorch computes with it in single precision.
        fits = abs(other) <= torch.finfo(torch.float32).max
        return fits and (other >= 0 or own < 0)
    if isinstance(own, (list, tuple)):
        return (
            isinstance(other, (list, tuple))
            and len(own) == len(other)
            and all(map(_is_like, own, other))
        )
    if isinstance(own, Mapping):
        # Of milestones there may be others.
        return isinstance(other, Mapping) and all(
            any(_is_like(pair, given) for pair in own.items())
            for given in other.items()
        )
    if isinstance(own, str):
        # What is scheduled, and how.
        return own == other
    return type(own) is type(other)


def _settings(part: Mapping) -> set[str]:
    """What an optimiser or a scheduler is set by."""
    names = {str(name) for name in part} - _COMPUTING - {'params'}
    return {name for name in names if not name.startswith(('_', 'initial_'))}


def _read(path: str) -> Any:
    if '://' in path:
        # It adds addresses to mmengine's.
        import mmnv3.engine.addresses  # noqa: F401

        return CheckpointLoader.load_checkpoint(path, 'cpu', logger='silent')
    for end, read in _READERS.items():
        if re.search(end, path):
            return read(path)
    return torch.load(path, map_location='cpu', weights_only=True)


def _read_safetensors(path: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _read_litert(path: str) -> dict[str, Tensor]:
    # It knows all of our networks, and so imports every toolbox, as does the next.
    from mmnv3.convert.tflite import read_tflite

    return read_tflite(path)


def _read_tensorflow(path: str) -> dict[str, Tensor]:
    from mmnv3.convert.frozen_graph import read_variables
    from mmnv3.convert.tensorflow import from_variables

    return from_variables(read_variables(path))


# What PyTorch did not write, by the ends of names, as regular expressions.
_READERS: dict[str, Callable[[str], dict[str, Tensor]]] = {
    r'\.safetensors$': _read_safetensors,
    r'\.tflite$': _read_litert,
    r'\.(pb|pbtxt|npz|tar|tar\.gz|tgz)$': _read_tensorflow,
    # TensorFlow's checkpoints.
    r'\.(index|meta|data-\d+-of-\d+)$': _read_tensorflow,
}
OTHER_FILES = tuple(_READERS)


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


def describe_older_anchors(detector: object, meta: Mapping[str, Any]) -> str | None:
    """What a checkpoint of mmnv3 0.1 says about its anchors, if the model differs.

    Args:
        detector: The model that it is for.
        meta: What training noted in it.

    Returns:
        A line with the remedy; None where nothing differs.
    """
    head = getattr(detector, 'bbox_head', None)
    anchors = getattr(head, 'prior_generator', None)
    trained = str(meta.get('cfg', ''))
    if (
        getattr(anchors, 'layout', None) != 'tensorflow'
        or getattr(anchors, 'clip', False)
        or VERSION_KEY in meta
        or 'SSDLiteAnchorGenerator' not in trained
    ):
        return None
    return (
        'it was trained by mmnv3 0.1, which clipped anchors, and boxes before '
        'suppression, to the picture; set model.bbox_head.anchor_generator.clip=True '
        'and model.test_cfg.clip_after_nms=False, or fine-tune it'
    )


@dataclass(frozen=True)
class KeyDifferences:
    """Where the tensors of a file are not those of a network, by their names.

    It is true where there is any difference.

    Args:
        missing: In the file.
        unexpected: Unknown to the network.
        misshaped: Of another shape, each with both shapes behind its name.
        mistyped: No floats where the network's are, each with both types behind its
            name. PyTorch would copy them, rounded numbers of another scale.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The network's layers that get nothing, or not all, from the file."""
        keys = (*self.missing, *(text.split()[0] for text in self.misshaped))
        return tuple(dict.fromkeys(key.rpartition('.')[0] for key in keys))

    def __len__(self) -> int:
        kinds = (self.missing, self.unexpected, self.misshaped, self.mistyped)
        return sum(map(len, kinds))

    def __str__(self) -> str:
        """How many of each kind, and the first of each, in one line."""
        return '; '.join(
            f'{len(found)} {kind} ({found[0]}{", …" if len(found) > 1 else ""})'
            for kind, found in (
                ('of another type', self.mistyped),
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
        mistyped=tuple(
            f'{key} is {_name_dtype(given[key])}, wanted {_name_dtype(wanted[key])}'
            for key in wanted
            if key in given
            # Counters take any number.
            and wanted[key].is_floating_point()
            and not given[key].is_floating_point()
        ),
    )


def describe_shapes(key: str, given: Sequence[int], wanted: Sequence[int]) -> str:
    """Names a tensor, its shape in a file, and that in the network."""
    return f'{key} is {tuple(given)}, wanted {tuple(wanted)}'


def find_resumable(work_dir: str | Path) -> Path | None:
    """The newest whole checkpoint of a work directory, or None.

    mmengine looks the name up in ``last_checkpoint``, which a kill can leave empty;
    the checkpoints themselves are the better witness. One that is damaged nevertheless
    is passed over, with a remark that names it.

    Args:
        work_dir: Where training wrote ``iter_*.pth`` or ``epoch_*.pth``.

    Raises:
        UserError: When the directory holds numbered checkpoints of both kinds, or none
            that training can go on from.
    """
    found = [
        (kind, int(number), path)
        for path in Path(work_dir).glob('*_*.pth')
        for kind, number in [path.stem.split('_')[:2]]
        if kind in ('iter', 'epoch') and number.isdecimal()
    ]
    if len({kind for kind, *_ in found}) > 1:
        raise UserError(
            f'{work_dir} holds iter_*.pth and epoch_*.pth; name the one to resume from'
        )
    damaged: list[str] = []
    for *_, path in sorted(found, reverse=True):
        try:
            read_checkpoint(path, resume=True)
        except UserError as error:
            damaged.append(str(error))
            continue
        for text in damaged:
            warnings.warn(f'{text}; resuming from {path.name}', Remark, stacklevel=2)
        return path
    if damaged:
        raise UserError(
            f'no checkpoint of {work_dir} can be resumed from, the newest since '
            f'{damaged[0]}'
        )
    return None
