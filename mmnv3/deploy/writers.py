"""What was found, as lines for people and in the formats of other programs."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mmnv3.coco_file import read_coco
from mmnv3.deploy.drawing import Colour, distinct_colours
from mmnv3.deploy.results import Classification, Detections, Result, Segmentation
from mmnv3.errors import Remark, UserError
from mmnv3.files import whole_or_absent
from mmnv3.pictures import write_picture


@dataclass(frozen=True)
class Found:
    """What was found in a picture, or in a frame of a video.

    Attributes:
        source: The file, camera or address.
        name: The path under the folder that it came from.
        stem: A path without ending for files about it, which no other picture has.
        picture: (H, W, 3) uint8, BGR.
        result: What was found.
        palette: Colours of the classes, RGB; empty for distinct ones.
        frame: Its number, from 0; None of a picture.
        time_s: Seconds since the video's begin.
    """

    source: str
    name: Path
    stem: Path
    picture: np.ndarray
    result: Result
    palette: Sequence[Colour] = ()
    frame: int | None = None
    time_s: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    @property
    def moment(self) -> dict[str, Any]:
        """``frame`` and ``time`` of a frame."""
        if self.frame is None:
            return {}
        return dict(frame=self.frame, time=_rounded(self.time_s, 3))


Write = Callable[[Found], None]
Writer = AbstractContextManager[Write]


@contextmanager
def json_writer(path: str | Path) -> Iterator[Write]:
    """Writes ``file``, ``size``, ``found``, and ``frame`` and ``time`` of videos.

    Args:
        path: The file, which appears when all is written: a list, or where it ends in
            ``.jsonl`` a row in each line.

    Yields:
        What takes what was found.
    """
    with _rows(Path(path)) as write:
        yield lambda found: write(
            dict(file=found.source)
            | found.moment
            | dict(size=found.size, found=as_json(found.result))
        )


@contextmanager
def _rows(path: Path) -> Iterator[Callable[[dict], None]]:
    """Writes rows as they come, so that memory does not grow with them."""
    lines = path.suffix == '.jsonl'
    begin, between, end = ('', '\n', '\n') if lines else ('[\n', ',\n', '\n]\n')
    try:
        with whole_or_absent(path) as partial, partial.open('w', encoding='utf-8') as f:
            separator = begin

            def write(row: dict) -> None:
                nonlocal separator
                f.write(separator + json.dumps(row, ensure_ascii=False))
                separator = between

            yield write
            f.write((begin if separator == begin else '') + end)
    except OSError as error:
        if error.filename not in (None, str(path)):
            raise
        raise UserError(f'{path} cannot be written ({error.strerror})') from None


@dataclass
class CocoIds:
    """Ids of pictures and classes as in a COCO file, or from 1 on where there is none.

    Attributes:
        ann_file: The file; None for none.
    """

    ann_file: str | Path | None = None
    _images: dict[str, Any] = field(default_factory=dict)
    _categories: dict[str, Any] = field(default_factory=dict)
    _absent: int = 0

    def __post_init__(self) -> None:
        if self.ann_file is None:
            return
        path = str(self.ann_file)
        data = read_coco(path, path, without_annotations=True)
        names = [image['file_name'] for image in data['images']]
        twins = Counter(Path(name).name for name in names)
        for image in data['images']:
            name = image['file_name']
            self._images[name] = image['id']
            if twins[Path(name).name] == 1:
                self._images.setdefault(Path(name).name, image['id'])
        self._categories = {row['name']: row['id'] for row in data['categories']}

    def image(self, found: Found) -> Any:
        """The id of a picture; None where the file does not have it."""
        name = _coco_name(found)
        if self.ann_file is None:
            return self._images.setdefault(name, len(self._images) + 1)
        number = self._images.get(name, self._images.get(Path(name).name))
        self._absent += number is None
        return number

    def category(self, classes: Sequence[str], label: int) -> Any:
        """The id of a class.

        Raises:
            UserError: When the file has no such class.
        """
        if self.ann_file is None:
            return int(label) + 1
        try:
            return self._categories[classes[label]]
        except KeyError:
            raise UserError(
                f'{self.ann_file} has no category {classes[label]!r}, which the model '
                'finds; leave out --ann-file, or name the file of its data set'
            ) from None

    def tell(self) -> None:
        """Says how many pictures the file did not have."""
        if self._absent:
            warnings.warn(
                f'{self._absent} pictures are not in {self.ann_file}, and not in what '
                'is written with its ids',
                Remark,
                stacklevel=2,
            )


def _coco_name(found: Found) -> str:
    """What COCO's files call a picture; of a video each frame is one."""
    name = found.name.as_posix()
    return name if found.frame is None else f'{name}/{found.frame:06d}'


def _coco_image(found: Found, number: Any) -> dict:
    width, height = found.size
    return (
        dict(id=number, file_name=_coco_name(found), width=width, height=height)
        | found.moment
    )


def _coco_categories(classes: Sequence[str], ids: CocoIds) -> list[dict]:
    return [
        dict(id=ids.category(classes, label), name=name)
        for label, name in enumerate(classes)
    ]


def _write_text(path: Path, text: str) -> None:
    with whole_or_absent(path) as partial:
        partial.write_text(text, encoding='utf-8')


@contextmanager
def _coco(folder: Path, ids: CocoIds) -> Iterator[Write]:
    """COCO's results, and where there is no file with ids one of pictures and classes.

    As its evaluation wants them: https://cocodataset.org/#format-results.
    """
    images: list[dict] = []
    categories: list[dict] = []
    with _rows(folder / 'coco_results.json') as write_row:

        def write(found: Found) -> None:
            assert isinstance(found.result, Detections)
            number = ids.image(found)
            if number is None:
                return
            classes = found.result.classes
            if ids.ann_file is None:
                images.append(_coco_image(found, number))
                categories[:] = categories or _coco_categories(classes, ids)
            result = found.result
            for box, score, label in zip(result.boxes, result.scores, result.labels):
                left, top, right, bottom = map(float, box)
                sides = left, top, right - left, bottom - top
                write_row(
                    dict(
                        image_id=number,
                        category_id=ids.category(classes, label),
                        bbox=[_rounded(side, 2) for side in sides],
                        score=_rounded(score, 5),
                    )
                )

        yield write
        if ids.ann_file is None:
            _write_text(
                folder / 'coco_images.json',
                json.dumps(
                    dict(images=images, annotations=[], categories=categories),
                    ensure_ascii=False,
                ),
            )


@contextmanager
def _polygons(folder: Path, ids: CocoIds) -> Iterator[Write]:
    """Outlines of a mask's connected parts, as annotations of COCO.

    Its polygons have no holes: those of a picture stand from the largest to the
    smallest, and painted in this order give the mask.
    """
    images: list[dict] = []
    categories: list[dict] = []
    number = 0
    with (
        whole_or_absent(folder / 'polygons.json') as partial,
        partial.open('w', encoding='utf-8') as file,
    ):
        file.write('{"annotations": [')

        def write(found: Found) -> None:
            nonlocal number
            assert isinstance(found.result, Segmentation)
            image = ids.image(found)
            if image is None:
                return
            images.append(_coco_image(found, image))
            classes = found.result.classes
            categories[:] = categories or _coco_categories(classes, ids)
            for label, outline, area in outlines(found.result.mask):
                low, high = outline.min(0), outline.max(0)
                row = dict(
                    id=number + 1,
                    image_id=image,
                    category_id=ids.category(classes, label),
                    segmentation=[outline.ravel().tolist()],
                    area=area,
                    bbox=[*low.tolist(), *(high - low).tolist()],
                    iscrowd=0,
                )
                file.write((',\n' if number else '\n') + json.dumps(row))
                number += 1

        yield write
        rest = json.dumps(
            dict(images=images, categories=categories), ensure_ascii=False
        )
        file.write('\n], ' + rest[1:])


def outlines(mask: np.ndarray) -> list[tuple[int, np.ndarray, float]]:
    """Outlines of the connected parts of a mask, the largest first.

    Args:
        mask: Indices of classes, (H, W) uint8.

    Returns:
        Class, corners (N, 2) in pixels from the upper left corner, and the area inside
        without regard to holes. Centres of all pixels of a part are inside.
    """
    found = []
    for label in np.unique(mask):
        # Of two that touch at a corner one would else have to lie in the other.
        count, parts, boxes, _ = cv2.connectedComponentsWithStats(
            (mask == label).astype(np.uint8), connectivity=4
        )
        for number in range(1, count):
            left, top, width, height, _ = boxes[number]
            part = parts[top : top + height, left : left + width] == number
            # OpenCV goes through the centres of the outermost pixels; of four for each
            # pixel these are a quarter from its sides, and a single one has an area.
            doubled = part.repeat(2, 0).repeat(2, 1).astype(np.uint8)
            [outline], _ = cv2.findContours(
                doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )
            corners = (outline[:, 0] + 0.5) / 2 + (left, top)
            area = cv2.contourArea(corners.astype(np.float32))
            found.append((int(label), corners, area))
    return sorted(found, key=lambda each: -each[2])


@contextmanager
def _yolo(folder: Path, ids: CocoIds) -> Iterator[Write]:
    """A text a picture, with a line an object: class, centre, size and score.

    Centre and size are fractions of the picture.
    """
    named = False

    def write(found: Found) -> None:
        nonlocal named
        result = found.result
        assert isinstance(result, Detections)
        if not named:
            _write_text(
                folder / 'yolo' / 'classes.txt', '\n'.join(result.classes) + '\n'
            )
            named = True
        sides = (result.boxes / np.tile(found.size, 2)).clip(0, 1)
        rows = zip(
            result.labels,
            (sides[:, :2] + sides[:, 2:]) / 2,
            sides[:, 2:] - sides[:, :2],
            result.scores,
        )
        lines = [
            f'{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.5f}\n'
            for label, (x, y), (w, h), score in rows
        ]
        _write_text(_beside(folder / 'yolo', found, '.txt'), ''.join(lines))

    yield write


@contextmanager
def _masks(folder: Path, ids: CocoIds) -> Iterator[Write]:
    """A PNG a picture, whose pixels are indices of classes, with their colours."""

    def write(found: Found) -> None:
        assert isinstance(found.result, Segmentation)
        palette = found.palette or distinct_colours(len(found.result.classes))
        picture = Image.fromarray(found.result.mask)
        picture.putpalette(bytes(np.array(palette, np.uint8).ravel()))
        content = BytesIO()
        picture.save(content, 'png')
        with whole_or_absent(_beside(folder / 'masks', found, '.png')) as partial:
            partial.write_bytes(content.getvalue())

    yield write


@contextmanager
def _csv(folder: Path, ids: CocoIds) -> Iterator[Write]:
    """A row an object or class; frame and time stand in those of videos."""
    with (
        whole_or_absent(folder / 'results.csv') as partial,
        partial.open(
            'w', encoding='utf-8', errors='surrogateescape', newline=''
        ) as file,
    ):
        table = csv.writer(file)
        named = False

        def write(found: Found) -> None:
            nonlocal named
            if not named:
                header = _COLUMNS[type(found.result)]
                table.writerow(['file', *header, 'frame', 'time'])
                named = True
            moment = found.moment.get('frame', ''), found.moment.get('time', '')
            for row in as_json(found.result):
                box = row.pop('box', ())
                table.writerow([found.source, *row.values(), *box, *moment])

        yield write


@contextmanager
def crop_writer(folder: str | Path) -> Iterator[Write]:
    """Writes what is in each box as a picture, in a folder of its class."""

    def write(found: Found) -> None:
        result = found.result
        _refuse_others(found.result, (Detections,), '--save-crops')
        assert isinstance(result, Detections)
        width, height = found.size
        for number, (box, label) in enumerate(zip(result.boxes, result.labels), 1):
            left, top = np.floor(box[:2]).astype(int).clip(0)
            right, bottom = np.ceil(box[2:]).astype(int).clip(None, (width, height))
            if left >= right or top >= bottom:
                continue
            name = re.sub(r'[^\w \-]', '_', result.classes[label]).strip() or '_'
            stem = found.stem if found.frame is None else _of_frame(found)
            write_picture(
                Path(folder) / name / stem.with_name(f'{stem.name}_{number}.jpg'),
                found.picture[top:bottom, left:right],
            )

    yield write


def _of_frame(found: Found) -> Path:
    return found.stem / f'{found.frame:06d}'


def _beside(folder: Path, found: Found, ending: str) -> Path:
    """Where a file about a picture goes; those of a video have a folder."""
    stem = found.stem if found.frame is None else _of_frame(found)
    return folder / stem.with_name(stem.name + ending)


@dataclass(frozen=True)
class SaveFormat:
    """A format of ``--save-format``.

    Attributes:
        results: Which results it has a place for.
        open: Begins to write into a folder.
    """

    results: tuple[type, ...]
    open: Callable[[Path, CocoIds], Writer]


SAVE_FORMATS = {
    'coco': SaveFormat((Detections,), _coco),
    'yolo': SaveFormat((Detections,), _yolo),
    'masks': SaveFormat((Segmentation,), _masks),
    'polygons': SaveFormat((Segmentation,), _polygons),
    'csv': SaveFormat((Detections, Segmentation, Classification), _csv),
}
_COLUMNS: dict[type, tuple[str, ...]] = {
    Detections: ('class', 'score', 'x1', 'y1', 'x2', 'y2'),
    Segmentation: ('class', 'share'),
    Classification: ('class', 'score'),
}


@contextmanager
def save_writer(name: str, folder: str | Path, ids: CocoIds) -> Iterator[Write]:
    """Writes one of `SAVE_FORMATS`.

    Args:
        name: Its name.
        folder: Where its files go.
        ids: Of pictures and classes.

    Yields:
        What takes what was found.

    Raises:
        UserError: When the format has no place for what the model finds.
    """
    chosen = SAVE_FORMATS[name]
    with chosen.open(Path(folder), ids) as write:

        def checked(found: Found) -> None:
            _refuse_others(found.result, chosen.results, f'--save-format {name}')
            write(found)

        yield checked


def _refuse_others(result: Result, wanted: tuple[type, ...], option: str) -> None:
    if not isinstance(result, wanted):
        fitting = [n for n, f in SAVE_FORMATS.items() if type(result) in f.results]
        raise UserError(
            f'{option} has no place for what this model finds; possible: '
            f'--save-format {" ".join(fitting)}'
        )


def above(result: Result, threshold: float) -> Result:
    """A result without detections that score no more than a threshold."""
    if not isinstance(result, Detections):
        return result
    kept = result.scores > threshold
    return Detections(
        result.boxes[kept], result.scores[kept], result.labels[kept], result.classes
    )


def in_words(result: Result) -> str:
    """A result in a line, as ``'12 RBC, 1 WBC'``."""
    return _WORDS[type(result)](result)


def as_json(result: Result) -> list[dict]:
    """A result as lists and numbers.

    Returns:
        Of a detector ``class``, ``score`` and ``box`` (x1 y1 x2 y2 in pixels) of every
        object; of a classifier ``class`` and ``score`` of the best; of a segmenter
        ``class`` and ``share`` of the picture's pixels. All are rounded.
    """
    return _JSON[type(result)](result)


def _count(result: Detections) -> str:
    counts = Counter(result.labels.tolist()).most_common()
    found = [f'{count} {result.classes[label]}' for label, count in counts]
    return ', '.join(found) or 'nothing'


def _shares(result: Segmentation) -> list[tuple[str, float]]:
    counts = np.bincount(result.mask.ravel(), minlength=1) / result.mask.size
    order = np.argsort(-counts)
    return [(result.classes[n], float(counts[n])) for n in order if counts[n]]


def _ranks(result: Classification) -> list[tuple[str, float]]:
    ranked = zip(result.labels, result.scores)
    return [(result.classes[label], float(score)) for label, score in ranked]


_WORDS = {
    Detections: _count,
    Segmentation: lambda result: _percent(_shares(result)),
    Classification: lambda result: _percent(_ranks(result)[:3]),
}
_JSON = {
    Detections: lambda result: [
        {
            'class': result.classes[label],
            'score': _rounded(score, 4),
            'box': [_rounded(side, 2) for side in box],
        }
        for box, score, label in zip(result.boxes, result.scores, result.labels)
    ],
    Segmentation: lambda result: [
        {'class': name, 'share': _rounded(share, 4)} for name, share in _shares(result)
    ],
    Classification: lambda result: [
        {'class': name, 'score': _rounded(score, 4)} for name, score in _ranks(result)
    ],
}


def _rounded(number: float, digits: int) -> float:
    return round(float(number), digits)


def _percent(parts: Sequence[tuple[str, float]]) -> str:
    return ', '.join(f'{name} {share:.0%}' for name, share in parts)
