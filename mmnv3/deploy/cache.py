"""Exports that are kept, so that a config and its weights are exported once."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from platformdirs import user_cache_path

import mmnv3
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.runtime import FORMATS
from mmnv3.errors import UserError


def cached_export(
    config: Config,
    checkpoint: str | None,
    format_name: str,
    *,
    size: Sequence[int] | None = None,
    batch: int = 1,
    postprocess: bool = False,
    anew: bool = False,
) -> Path:
    """The exported file of a config; exports where there is none yet.

    It stands in the user's cache folder, whose place ``XDG_CACHE_HOME`` moves. Another
    config, checkpoint, size, batch or version of an exporter makes another file.

    Args:
        config: The config.
        checkpoint: Its weights; random ones for None.
        format_name: One of :data:`mmnv3.deploy.export.FORMATS`.
        size: Of the input, (width, height); the config's own for None.
        batch: Pictures of one call.
        postprocess: Whether boxes are suppressed, or the best class is chosen, inside.
        anew: Whether a file that is there is made again, since it is damaged.

    Raises:
        UserError: When the model cannot be exported, or the folder not be written.
    """
    # Only an export needs the toolboxes.
    from mmnv3.deploy import export

    key = _key(config, checkpoint, format_name, size, batch, postprocess)
    name = f'{Path(config.filename).stem}-{key}{FORMATS[format_name].suffixes[0]}'
    out = user_cache_path('mmnv3') / 'exports' / name
    if out.is_file() and not anew:
        return out
    try:
        with warnings.catch_warnings():
            # The exporters talk to their developers.
            warnings.simplefilter('ignore')
            export.export_config(
                config,
                checkpoint,
                out,
                format_name,
                size,
                batch=batch,
                postprocess=postprocess,
            )
    except OSError as error:
        raise UserError(
            f'{out.parent} cannot be written ({error.strerror}); set XDG_CACHE_HOME to '
            'another folder'
        ) from None
    return out


def _key(
    config: Config,
    checkpoint: str | None,
    format_name: str,
    size: Sequence[int] | None,
    batch: int,
    postprocess: bool,
) -> str:
    """A name for all that an exported file depends on."""
    settings = config.to_dict()
    parts = [
        settings,
        # As the specification that `arch` names.
        [_stamp(text) for text in _strings(settings.get('model', {}))],
        checkpoint and (str(Path(checkpoint).resolve()), _stamp(checkpoint)),
        format_name,
        size,
        batch,
        postprocess,
        mmnv3.__version__,
        torch.__version__,
        _versions(FORMATS[format_name].packages),
        list(ModelInfo.__dataclass_fields__),
    ]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Versions of packages, None of those that are not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _strings(value[key])
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _strings(part)


def _stamp(path: str) -> tuple[int, int] | None:
    """Size and time of a file, None for what is no file."""
    if not Path(path).is_file():
        return None
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
