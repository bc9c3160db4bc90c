"""A folder for any web server: a page that runs exported models in the browser.

The page is built from ``web/`` by ``make web``, and lies in the package from then on. A
site holds it, its models, some drawn pictures, and a list of them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmnv3.deploy.info import INPUT, ModelInfo
from mmnv3.errors import UserError
from mmnv3.files import temporary_folder, whole_or_absent
from mmnv3.json_files import read_json
from mmnv3.pictures import write_picture

WEB = 'web'
# What runs in browsers: ONNX Runtime's files.
MODEL_FORMAT = 'onnx'
MANIFEST = 'models.json'

_PAGE = Path(__file__).with_name('page')
_INDEX = 'index.html'
# Of the demo generator's pictures those of some seeds, large enough for a screen.
_SAMPLES, _SAMPLE_PIXELS = 6, 480


def check_site(out: str | Path) -> None:
    """Checks that a site can be written, before a model is exported for it.

    Args:
        out: Its folder.

    Raises:
        UserError: When the page is not built, or the folder holds something else.
    """
    if not (_PAGE / _INDEX).is_file():
        raise UserError(
            'the page is not built in this installation; run `make web` (Node.js) in '
            'the repository and install again'
        )
    out = Path(out)
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise UserError(
            f'{out} holds other files than a site; name a folder that is not there yet'
        )
    if (out / MANIFEST).is_file():
        _read_manifest(out)


def write_site(
    out: str | Path, name: str, export: Callable[[Path], ModelInfo]
) -> ModelInfo:
    """Writes a site of one model, or adds the model to a site that is there.

    A model of the same name and precision is replaced, and the page is this version's.

    Args:
        out: The folder; a new one appears whole or not at all. In one that is there the
            files do, the list of models last.
        name: What the page calls the model.
        export: Writes the model to a file, which takes pictures as they are, and
            returns its description.

    Raises:
        UserError: As :func:`check_site`, and what ``export`` raises.
    """
    check_site(out)
    out = Path(out)
    with temporary_folder(out) as folder:
        model = folder / 'model'
        model.mkdir()
        file = model / f'made.{MODEL_FORMAT}'
        info = export(file)
        if (out / MANIFEST).is_file():
            _fill(out, name, file, info)
            return info
        made = folder / 'site'
        _fill(made, name, file, info)
        if out.exists():
            out.rmdir()  # Empty, as was looked at: Windows cannot replace it.
        os.replace(made, out)
    return info


def _fill(site: Path, name: str, file: Path, info: ModelInfo) -> None:
    """Writes all files of a site, those that name others after them."""
    names = [path.relative_to(_PAGE) for path in sorted(_PAGE.rglob('*'))]
    files = [path for path in names if (_PAGE / path).is_file()]
    for path in sorted(files, key=lambda path: path.name == _INDEX):
        _copy(_PAGE / path, site / path)
    rows = _read_manifest(site)['models'] if (site / MANIFEST).is_file() else []
    row = _row(name, file, info)
    _copy(file, site / row['file'])
    key = (row['name'], row['precision'])
    rows = [each for each in rows if (each['name'], each['precision']) != key]
    manifest = dict(models=[*rows, row], samples=_draw_samples(site / 'samples'))
    with whole_or_absent(site / MANIFEST) as partial:
        partial.write_text(json.dumps(manifest, indent=1), encoding='utf-8')
    _remove_old(site / 'assets', {path.name for path in files})
    _remove_old(
        site / 'models', {Path(each['file']).name for each in manifest['models']}
    )


def _row(name: str, file: Path, info: ModelInfo) -> dict[str, Any]:
    """What the page has to know of a model; `Model` in web/src/messages.ts."""
    # Whoever only serves sites does without its PyTorch.
    from mmnv3.deploy.drawing import distinct_colours

    stem = re.sub(r'[^\w.-]+', '_', name, flags=re.ASCII)
    return dict(
        name=name,
        precision=info.precision,
        task=info.task,
        file=f'models/{stem}-{info.precision}.{MODEL_FORMAT}',
        bytes=file.stat().st_size,
        version=_version(file.read_bytes()),
        classes=info.classes,
        palette=info.palette or distinct_colours(len(info.classes)),
        input=INPUT,
        score_threshold=info.score_threshold,
        max_detections=info.max_detections,
    )


def _version(content: bytes) -> str:
    """What tells browsers that a file is another one now."""
    return hashlib.sha256(content).hexdigest()[:12]


def _draw_samples(folder: Path) -> list[dict[str, str]]:
    """Draws pictures where there are none, and names them."""
    # It needs the toolboxes' pycocotools, which serving a site does not.
    from mmnv3.datasets.demo import draw_scene

    rows = []
    for number in range(1, _SAMPLES + 1):
        path = folder / f'{number}.jpg'
        if not path.is_file():
            scene = draw_scene(np.random.default_rng(number), _SAMPLE_PIXELS)
            write_picture(path, scene.image)
        version = _version(path.read_bytes())
        rows.append(dict(file=f'{folder.name}/{path.name}', version=version))
    return rows


def _copy(source: Path, target: Path) -> None:
    with whole_or_absent(target) as partial:
        shutil.copyfile(source, partial)


def _remove_old(folder: Path, wanted: set[str]) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name not in wanted:
            path.unlink()


def _read_manifest(site: Path) -> dict[str, Any]:
    """The list of a site's models.

    Raises:
        UserError: When it is none.
    """
    path = site / MANIFEST
    manifest = read_json(path)
    try:
        rows: Sequence = manifest['models']
        if not all(isinstance(row[key], str) for row in rows for key in _KEYS):
            raise TypeError
    except (KeyError, TypeError):
        raise UserError(
            f'{path} lists no models as a site does; name another folder, or remove it'
        ) from None
    return manifest


_KEYS = ('name', 'precision', 'file')
