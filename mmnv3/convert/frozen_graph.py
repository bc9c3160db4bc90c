"""Reading what TensorFlow's model zoos publish, without TensorFlow."""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmnv3.convert.tensorflow import is_variable
from mmnv3.errors import UserError

ARCHIVES = ('.tar.gz', '.tgz', '.tar')
_GRAPH, _PIPELINE = 'frozen_inference_graph.pb', 'pipeline.config'
# Of a member of an archive; the largest graph published is 22 MB.
_LARGEST_BYTES = 1 << 30
_LFS = b'version https://git-lfs'
# Operations of graphs that were trained for, or computed with, 8 bits.
_QUANTISED = re.compile('FakeQuant|Quantize|Dequantize')
_UNFROZEN = ('Variable', 'VariableV2', 'VarHandleOp')


def read_variables(path: str) -> dict[str, np.ndarray]:
    """Reads the variables of a network.

    Args:
        path: A frozen graph (``.pb``), an archive of a model zoo that holds one
            (nothing of it is unpacked to disk), or an ``.npz`` file of variables.

    Returns:
        Arrays by names such as ``'MobilenetV3/Conv/BatchNorm/gamma'``.

    Raises:
        UserError: When the file is damaged, is no float graph with its normalisation,
            or holds another network.
    """
    if path.endswith('.npz'):
        return _read_npz(path)
    if path.endswith(ARCHIVES):
        with _open_archive(path) as archive:
            member = _graph_member(archive, path)
            content, name = _read_member(archive, member, path), member.name
        return _read_graph(content, f'{path}: {name}')
    if not path.endswith('.pb'):
        raise UserError(
            f'{path} is of a TensorFlow checkpoint or a text graph, which only '
            f'TensorFlow reads; give the {_GRAPH} that is published beside it'
        )
    return _read_graph(Path(path).read_bytes(), path)


def read_pipeline(path: str) -> tuple[str, str] | None:
    """Reads the ``pipeline.config`` beside a graph or in its archive.

    Args:
        path: As of :func:`read_variables`.

    Returns:
        Its name and its text; None where there is none.

    Raises:
        UserError: When it is no text, or the archive is damaged.
    """
    if path.endswith(ARCHIVES):
        with _open_archive(path) as archive:
            graph = PurePosixPath(_graph_member(archive, path).name)
            beside = str(graph.with_name(_PIPELINE))
            found = next((m for m in _members(archive, path) if m.name == beside), None)
            if found is None:
                return None
            name, content = f'{path}: {beside}', _read_member(archive, found, path)
    else:
        file = Path(path).with_name(_PIPELINE)
        if not file.is_file():
            return None
        name, content = str(file), file.read_bytes()
    try:
        return name, content.decode()
    except UnicodeDecodeError:
        raise UserError(f'{name} is no text; remove it, or download it again') from None


def _read_npz(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files if is_variable(name)}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f'{path} cannot be read as an .npz of arrays, it may be damaged ({error})'
        ) from None
    except AttributeError:  # A single array, whatever its name says.
        raise UserError(f'{path} is no .npz of arrays by name') from None
    if not found:
        raise UserError(f"{path} holds none of TensorFlow's variables by name")
    return found


@contextmanager
def _open_archive(path: str) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path) as archive:
            yield archive
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        with open(path, 'rb') as file:
            start = file.read(len(_LFS))
        _refuse_pointer(start, path)
        raise UserError(
            f'{path} cannot be read as an archive, it may be damaged ({error}); '
            'download it again'
        ) from None


def _members(archive: tarfile.TarFile, path: str) -> list[tarfile.TarInfo]:
    """The regular files of an archive.

    Nothing is unpacked, so a path can do no harm; one that leads out of the archive
    says that it is not what a model zoo publishes.
    """
    members = archive.getmembers()
    for member in members:
        place = PurePosixPath(member.name)
        if place.is_absolute() or '..' in place.parts:
            raise UserError(
                f'{path}: the path {member.name!r} leads out of the archive; download '
                'it from where it is published'
            )
    # What macOS keeps of a file besides its content begins so.
    return [
        member
        for member in members
        if member.isfile() and not PurePosixPath(member.name).name.startswith('._')
    ]


def _graph_member(archive: tarfile.TarFile, path: str) -> tarfile.TarInfo:
    graphs = [m for m in _members(archive, path) if m.name.endswith('.pb')]
    frozen = [m for m in graphs if PurePosixPath(m.name).name == _GRAPH]
    chosen = frozen or graphs
    if not chosen:
        raise UserError(f'{path} holds no frozen graph (.pb)')
    if len(chosen) > 1:
        names = ', '.join(member.name for member in chosen[:4])
        raise UserError(
            f'{path} holds {len(chosen)} graphs ({names}); unpack it and give one'
        )
    return chosen[0]


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bytes:
    if member.size > _LARGEST_BYTES:
        raise UserError(
            f'{path}: {member.name} has {member.size / 1e9:.1f} GB, too many'
        )
    file = archive.extractfile(member)
    return file.read() if file else b''


def _read_graph(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Takes the constants out of a frozen graph that were variables.

    Args:
        content: The file.
        name: Of the file, for errors.
    """
    graph = _parse(content, name)
    ops = {node.op for node in graph.node}
    if quantised := sorted(op for op in ops if _QUANTISED.search(op)):
        raise UserError(
            f'{name} is a quantised graph (it has {quantised[0]}); give the float one'
        )
    if not ops.isdisjoint(_UNFROZEN):
        raise UserError(
            f'{name} is not frozen: its weights lie in a checkpoint; give the {_GRAPH}'
        )
    constants = {n.name: n for n in graph.node if n.op == 'Const'}
    variables = {
        key: _values(node, name) for key, node in constants.items() if is_variable(key)
    }
    scopes = [key.rpartition('/')[0] for key in variables]
    if not any('MobilenetV3/' in scope for scope in scopes):
        found = f'its first layer is {scopes[0]}' if scopes else 'no layer is known'
        raise UserError(f'{name} holds no MobileNetV3: {found}')
    if not any(scope.endswith('/BatchNorm') for scope in scopes):
        raise UserError(
            f'{name}: its batch normalisation is folded into its kernels; give the '
            f'{_GRAPH} that the exporter wrote'
        )
    return variables


def _parse(content: bytes, name: str) -> Any:
    """Parses the protobuf message ``GraphDef``."""
    try:
        from google.protobuf.message import DecodeError
        from tensorboard.compat.proto.graph_pb2 import GraphDef
    except ImportError:
        raise UserError(
            f"{name}: reading TensorFlow's graphs needs the classes of its format, "
            'which tensorboard has; pip install tensorboard'
        ) from None
    _refuse_pointer(content, name)
    try:
        graph = GraphDef.FromString(content)
    except DecodeError:
        graph = GraphDef()
    if not any(node.op for node in graph.node):
        text = all(byte in b'\t\r\n' or 32 <= byte < 127 for byte in content[:256])
        kind = 'text' if content and text else 'damaged or of another format'
        raise UserError(
            f'{name} is no frozen graph in binary form, it is {kind}; give the {_GRAPH}'
        )
    return graph


def _refuse_pointer(content: bytes, name: str) -> None:
    if content.startswith(_LFS):
        raise UserError(
            f'{name} is a pointer of Git LFS and not the file; run git lfs pull'
        )


def _values(node: Any, name: str) -> np.ndarray:
    """The numbers of a constant."""
    from tensorboard.util.tensor_util import make_ndarray

    try:
        array = np.asarray(make_ndarray(node.attr['value'].tensor))
    except (TypeError, ValueError) as error:
        raise UserError(
            f'{name}: the constant {node.name} cannot be read ({error})'
        ) from None
    if array.dtype.kind != 'f':
        raise UserError(
            f'{name}: the constant {node.name} is {array.dtype} and not float; give '
            'the float graph'
        )
    if not np.isfinite(array).all():
        raise UserError(f'{name}: the constant {node.name} is not finite')
    return array
