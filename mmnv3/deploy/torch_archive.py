"""Opens ``.pt2`` files without running what may be hidden in them.

PyTorch unpickles what a file marks as pickled, loads compiled libraries, evaluates
expressions of sizes, and calls whatever function of its own a node names. Files of
``tools/export.py`` need none of it, so that everything else is refused, and what was
looked at is packed anew: two readers of one archive can find different things in it.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from mmnv3.deploy.info import EXTRA_FILE
from mmnv3.errors import UserError

# Members of an archive, without the folder that all are in, and how they are looked at:
# the graph, the lists of tensors, tensors that PyTorch's safe unpickler must take, and
# what is no more than bytes.
_GRAPH = re.compile(r'models/model\.json|serialized_exported_program\.json')
_TENSOR_LIST = re.compile(r'data/(weights|constants)/model_\1_config\.json')
_SAFE_PICKLE = re.compile(
    r'data/(sample_inputs|weights|constants)/model\.pt'
    r'|serialized_(state_dict|constants|example_inputs)\.pt'
)
_BYTES = re.compile(
    r'archive_(format|version)|byteorder|version|\.data/\w+|\.format_version'
    r'|\.storage_alignment'
    r'|data/weights/weight_\d+|data/constants/tensor_\d+'
    rf'|(extra|extra_files)/{re.escape(EXTRA_FILE)}'
)
# Operators map tensors to tensors; those of PyTorch that open files are named by text.
_OPERATOR = re.compile(
    r'torch\.ops\.(aten|torchvision)\.\w+\.\w+'
    r'|_operator\.(add|sub|mul|floordiv|mod|neg|eq|ne|lt|le|gt|ge|getitem)'
)
_TEXTS = {
    'torch.ops.aten.pad.default': re.compile('constant|reflect|replicate|circular'),
    'torch.ops.aten.gelu.default': re.compile('none|tanh'),
    'torch.ops.aten.div.Tensor_mode': re.compile('floor|trunc'),
    'torch.ops.aten.div.Scalar_mode': re.compile('floor|trunc'),
    # What it says when it fails.
    'torch.ops.aten._assert_scalar.default': re.compile('.*', re.DOTALL),
}
# What expressions are made of: sizes that depend on what is seen, as the number of
# boxes does. PyTorch evaluates them as Python.
_WORDS = re.compile(
    r'[us]\d+|\d{1,12}|Symbol|Integer|integer|positive|nonnegative|True'
    r'|Add|Mul|Max|Min|FloorDiv|Mod|Equality|Unequality|Eq|Ne|Ge|Le|Gt|Lt'
    r'|(Strict)?(Greater|Less)Than'
)
# Other graphs, objects and functions as arguments.
_NO_ARGUMENTS = ('as_graph', 'as_operator', 'as_custom_obj', 'as_strings')
_CONTAINERS = {'builtins.tuple', 'builtins.list', 'builtins.dict', None}


def load_program(path: Path) -> tuple[ExportedProgram, dict[str, str]]:
    """Loads a ``.pt2`` file of ``tools/export.py``.

    Args:
        path: The file.

    Returns:
        The program, and its description as
        :meth:`mmnv3.deploy.info.ModelInfo.from_strings` takes it.

    Raises:
        UserError: When it holds what could run code.
        Exception: Whatever the readers raise of a damaged file.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, content in members.items():
        reason = _find_code(name, content)
        if reason:
            raise UserError(
                f'{path} holds {reason}, which could run code and which files of '
                'tools/export.py do not have; it is not loaded'
            )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    packed.seek(0)
    extra = {EXTRA_FILE: ''}
    with _silence('torch.export'), _silence('torch._export'):
        program = torch.export.load(packed, extra_files=extra)
    strings = json.loads(extra[EXTRA_FILE] or '{}')
    return program, strings if isinstance(strings, dict) else {}


def _find_code(path: str, content: bytes) -> str | None:
    """What of a member could run code, in words; None where nothing can."""
    # The folder's name is the file's; the archives of PyTorch before 2.8 have none.
    names = path, path.partition('/')[2]
    if any(map(_BYTES.fullmatch, names)):
        return None
    if any(map(_SAFE_PICKLE.fullmatch, names)):
        try:
            torch.load(io.BytesIO(content), weights_only=True)
        except Exception:  # Whatever is wrong with it, PyTorch would go on unsafely.
            return None if not content else f'the pickled objects {path}'
        return None
    if any(map(_TENSOR_LIST.fullmatch, names)):
        return next(_code_of_tensors(json.loads(content)), None)
    if any(map(_GRAPH.fullmatch, names)):
        return next(_code_of_graph(json.loads(content)), None)
    return f'the member {path}'


def _code_of_tensors(listed: Any) -> Iterator[str]:
    for name, about in listed['config'].items():
        if about['use_pickle'] is not False:
            yield f'the pickled tensor {name}'
        if not re.fullmatch(r'(weight|tensor)_\d+', about['path_name']):
            yield f'the object {about["path_name"]}'


def _code_of_graph(program: Any) -> Iterator[str]:
    if program.get('guards_code'):
        yield 'code of guards'
    for name in program['range_constraints']:
        if not _is_arithmetic(name):
            yield f'the expression {name}'
    for fields, target in _walk(program, ''):
        for key in _NO_ARGUMENTS:
            if fields.get(key) is not None:
                yield f'an argument of the kind {key}'
        if 'target' in fields and not _OPERATOR.fullmatch(target):
            yield f'the operator {target}'
        if 'as_string' in fields:
            known = _TEXTS.get(target)
            if known is None or not known.fullmatch(str(fields['as_string'])):
                yield f'the text {fields["as_string"]!r} of {target}'
        if not _is_arithmetic(fields.get('expr_str', '')):
            yield f'the expression {fields["expr_str"]}'
        for key in ('in_spec', 'out_spec'):
            if fields.get(key):
                spec = json.loads(fields[key])
                for part, _ in _walk(spec, ''):
                    if part.get('type') not in _CONTAINERS:
                        yield f'the container {part["type"]}'
        if fields.get('custom_obj_values') or fields.get('treespec_namedtuple_fields'):
            yield 'objects of classes'


def _is_arithmetic(expression: str) -> bool:
    words = re.findall(r'\w+', expression)
    return (
        all(map(_WORDS.fullmatch, words))
        and not set(re.sub(r'\w+', '', expression)) - set("(), '=-+*")
        and '**' not in expression
    )


def _walk(value: Any, target: str) -> Iterator[tuple[dict, str]]:
    """All objects of JSON, each with the operator that it is an argument of."""
    if isinstance(value, dict):
        target = str(value.get('target', target))
        yield value, target
        for part in value.values():
            yield from _walk(part, target)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, target)


@contextmanager
def _silence(name: str) -> Iterator[None]:
    """Keeps a library from printing a traceback of what it raises anyway."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
