"""Exports that are kept, so that a config and its weights are exported once."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from platformdirs import user_cache_path

import mmnv3
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.runtime import FORMATS
from mmnv3.errors import UserError
from mmnv3.pictures import list_files

if TYPE_CHECKING:  # Exported files do without it.
    from mmengine.config import Config


def cached_export(
    config: Config,
    checkpoint: str | None,
    format_name: str,
    *,
    size: Sequence[int] | None = None,
    batch: int = 1,
    postprocess: bool = False,
    precision: str = 'fp32',
    calibration: str | Path | None = None,
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
        precision: One of those that the format has.
        calibration: Folder of pictures, which ``'int8'`` needs.
        anew: Whether a file that is there is made again, since it is damaged.

    Raises:
        UserError: When the model cannot be exported, or the folder not be written.
    """
    # Only an export needs the toolboxes.
    from mmnv3.deploy import export

    key = hash_of(
        [
            model_parts(config, checkpoint),
            format_name,
            size,
            batch,
            postprocess,
            precision,
            calibration and [(str(f), file_stamp(f)) for f in list_files(calibration)],
            mmnv3.__version__,
            torch.__version__,
            package_versions(FORMATS[format_name].packages),
            list(ModelInfo.__dataclass_fields__),
        ]
    )
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
                precision=precision,
                calibration=calibration,
            )
    except OSError as error:
        raise UserError(
            f'{out.parent} cannot be written ({error.strerror}); set XDG_CACHE_HOME to '
            'another folder'
        ) from None
    return out


def model_parts(config: Config, checkpoint: str | None) -> list[Any]:
    """What a config's model depends on, for a key of something that is kept."""
    settings = config.to_dict()
    return [
        settings,
        # As the specification that `arch` names.
        [file_stamp(text) for text in _strings(settings.get('model', {}))],
        checkpoint and (str(Path(checkpoint).resolve()), file_stamp(checkpoint)),
    ]


def hash_of(parts: list[Any]) -> str:
    """A short name for all that something depends on."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
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


def file_stamp(path: str | Path) -> tuple[int, int] | None:
    """Size and time of a file, None for what is no file."""
    if not Path(path).is_file():
        return None
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns
