"""The files that the paper's authors published, by name."""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

ADDRESS = 'zoo://'
_DETECTION = 'https://storage.googleapis.com/download.tensorflow.org/models/'
_CLASSIFICATION = 'https://storage.googleapis.com/mobilenet_v3/checkpoints/'

# Read at a time.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class PublishedFile:
    """One of the authors' files.

    Args:
        url: Where it is published.
        holds: What network it holds, and its classes.
        config: Ours for that network.
        figure: What the authors measured.
        sha256: Its checksum; None where nobody has told it.
    """

    url: str
    holds: str
    config: str
    figure: str
    sha256: str | None = None


def _detector(size: str, average_precision: float) -> PublishedFile:
    return PublishedFile(
        f'{_DETECTION}object_detection/ssd_mobilenet_v3_{size}_coco_2020_01_14.tar.gz',
        f'SSDLite, V3-{size.title()}, 320 × 320, 90 classes',
        f'ssdlite_mnv3_{size}_coco_google.py',
        f'COCO AP {average_precision}',
    )


def _segmenter(size: str, mean_iou: float) -> PublishedFile:
    return PublishedFile(
        f'{_DETECTION}deeplab_mnv3_{size}_cityscapes_trainfine_2019_11_15.tar.gz',
        f'LR-ASPP, V3-{size.title()}, output stride 32',
        f'lraspp_mnv3_{size}_cityscapes_google.py',
        f'Cityscapes val mIoU {mean_iou}',
    )


def _classifier(
    name: str, holds: str, config: str, top1: float, sha256: str | None = None
) -> PublishedFile:
    return PublishedFile(
        f'{_CLASSIFICATION}{name}_float.tgz',
        f'{holds}, 1001 classes',
        f'mnv3_{config}_imagenet.py',
        f'ImageNet top-1 {top1}',
        sha256,
    )


_FILES = (
    _detector('large', 22.6),
    _detector('small', 15.4),
    _segmenter('large', 72.41),
    _segmenter('small', 68.99),
    # The checksums are those that others' recipes compare with: of the networks at
    # width 1 both OpenVINO's model zoo and a recipe of Yocto, at 0.75 the latter.
    _classifier(
        'v3-large_224_1.0', 'V3-Large', 'large', 75.2,
        '9be8563f92022f412c82f2811d670888d6db998e2da9af3e71415fdde2f4f504',
    ),
    _classifier(
        'v3-large_224_0.75', 'V3-Large at width 0.75', 'large_075', 73.3,
        '4346e7893769d3f8ac79e28e7924b351bf8348a8a4d5e7a606260003e706aea5',
    ),
    _classifier(
        'v3-large-minimalistic_224_1.0', 'V3-Large minimalistic',
        'large_minimalistic', 72.3,
    ),
    _classifier(
        'v3-small_224_1.0', 'V3-Small', 'small', 67.5,
        'e60ad9f450f892ae56f8b9122ffc750d88940d9e6b63f6dc70649179fb3a9065',
    ),
    _classifier(
        'v3-small_224_0.75', 'V3-Small at width 0.75', 'small_075', 65.4,
        'fffd2e437434f319623ecf26cdbebdb933dcd753afa38e7c2f78cb59c6fc470f',
    ),
    _classifier(
        'v3-small-minimalistic_224_1.0', 'V3-Small minimalistic',
        'small_minimalistic', 61.9,
    ),
)  # fmt: skip


def _name(file: PublishedFile) -> str:
    return file.url.rpartition('/')[2].removesuffix('.tgz').removesuffix('.tar.gz')


PUBLISHED: Mapping[str, PublishedFile] = {_name(file): file for file in _FILES}


def local_file(path: str) -> str:
    """The path of a file, which is downloaded if an address of the zoo is given.

    It stays in the cache of torch.hub. What has no known checksum keeps that of its
    first download, in a file beside it.

    Args:
        path: A file, or an address such as
            ``'zoo://ssd_mobilenet_v3_large_coco_2020_01_14'``.

    Returns:
        The file in the cache; what is no such address as it is.

    Raises:
        UserError: When nothing of this name is published, when it cannot be fetched,
            or when its checksum is another.
    """
    if not path.startswith(ADDRESS):
        return path
    name = path.removeprefix(ADDRESS)
    if name not in PUBLISHED:
        raise UserError(f'{path}: known are {", ".join(PUBLISHED)}')
    published = PUBLISHED[name]
    file = cached_file(published.url)
    note = file.with_name(f'{file.name}.sha256')
    wanted = published.sha256
    if wanted is None and note.is_file():
        wanted = note.read_text(encoding='utf-8').split(' ')[0].strip()
    if file.is_file():
        if wanted not in (None, _checksum(file)):
            raise UserError(
                f'{file} is not what was published: its SHA-256 is {_checksum(file)} '
                f'and not {wanted}; remove it, and it is downloaded again'
            )
        return str(file)
    with whole_or_absent(file) as partial:
        download(published.url, partial, path)
        try:
            _check_whole(partial)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f'{published.url} gave a file that is not whole ({error}); try again'
            ) from None
        found = _checksum(partial)
        if wanted not in (None, found):
            hint = f'; if it may have changed, remove {note}' if note.is_file() else ''
            raise UserError(
                f'{published.url} gave a file with the SHA-256 {found} and not '
                f'{wanted}; it was not kept{hint}'
            )
        if published.sha256 is None:
            with whole_or_absent(note) as beside:
                beside.write_text(f'{found}  {file.name}\n', encoding='utf-8')
    return str(file)


def cached_file(url: str) -> Path:
    """Where torch.hub keeps what it downloads from an address."""
    name = urlsplit(url).path.rpartition('/')[2]
    return Path(torch.hub.get_dir(), 'checkpoints', name)


def download(url: str, out: Path, name: str) -> None:
    """Downloads a file, with a progress bar on a terminal.

    Args:
        url: Its address.
        out: The file to write.
        name: What the user called it, for the error.

    Raises:
        UserError: When it cannot be fetched.
    """
    try:
        torch.hub.download_url_to_file(url, str(out), progress=sys.stderr.isatty())
    except (OSError, ValueError) as error:
        raise UserError(
            f'{name} cannot be fetched ({url}: {error}); download it where there is a '
            'network, and give the file'
        ) from None


def _check_whole(file: Path) -> None:
    """Reads an archive to its end, where its length and checksum stand.

    A connection that ends early is no error to torch.hub.
    """
    with gzip.open(file) as content:
        while content.read(_BLOCK_BYTES):
            pass


def _checksum(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open('rb') as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
