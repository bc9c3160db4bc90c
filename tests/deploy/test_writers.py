"""Formats of other programs, as these read them."""

import csv
import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmnv3.deploy.predict_files import predict_files
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Classification, Detections, Segmentation
from mmnv3.deploy.writers import (
    SAVE_FORMATS,
    CocoIds,
    Found,
    crop_writer,
    outlines,
    save_writer,
)
from mmnv3.errors import Remark, UserError
from tests.deploy.tiny import write_tiny
from tests.tools import run_tool

CLASSES = ('dot', 'dash')
BOXES = Detections(
    np.array([[10, 20, 30, 25], [-5, 90, 12, 104]], np.float32),
    np.array([0.9, 0.25], np.float32),
    np.array([1, 0]),
    CLASSES,
)
NONE = Detections(BOXES.boxes[:0], BOXES.scores[:0], BOXES.labels[:0], CLASSES)
RANKS = Classification(np.array([0.75, 0.25], np.float32), np.array([1, 0]), CLASSES)


def found(name: str, result, frame: int | None = None) -> Found:
    """In a picture of 150 x 100 pixels."""
    picture = np.arange(150, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    path = Path(name)
    return Found(
        f'in/{name}', path, path.with_suffix(''), picture, result, (), frame, 0.5
    )


def save(folder: Path, name: str, *results: Found, ids: CocoIds | None = None) -> None:
    with save_writer(name, folder, ids or CocoIds()) as write:
        for each in results:
            write(each)


def quietly(make):
    with redirect_stdout(StringIO()):
        return make()


def test_pycocotools_loads_results(tmp_path) -> None:
    save(tmp_path, 'coco', found('a.jpg', BOXES), found('b/c.jpg', NONE),
         found('d.avi', BOXES, 7))  # fmt: skip
    truth = quietly(lambda: COCO(tmp_path / 'coco_images.json'))
    results = quietly(lambda: truth.loadRes(str(tmp_path / 'coco_results.json')))
    assert [image['file_name'] for image in truth.loadImgs([1, 2, 3])] == [
        'a.jpg', 'b/c.jpg', 'd.avi/000007',
    ]  # fmt: skip
    assert truth.loadImgs([1])[0]['width'] == 150
    rows = results.loadAnns(results.getAnnIds(imgIds=[1]))
    assert [row['bbox'] for row in rows] == [[10, 20, 20, 5], [-5, 90, 17, 14]]
    names = [truth.loadCats(row['category_id'])[0]['name'] for row in rows]
    assert names == ['dash', 'dot'] and [row['score'] for row in rows] == [0.9, 0.25]
    assert not results.getAnnIds(imgIds=[2]) and len(results.getAnnIds(imgIds=[3])) == 2


def test_ids_are_those_of_an_annotation_file(tmp_path) -> None:
    rest = dict(area=100, iscrowd=0)
    truth = dict(
        images=[
            dict(id=70, file_name='train/a.jpg', width=150, height=100),
            dict(id=71, file_name='x/b.jpg', width=150, height=100),
            dict(id=72, file_name='y/b.jpg', width=150, height=100),
        ],
        categories=[dict(id=5, name='dot'), dict(id=9, name='dash')],
        annotations=[
            dict(id=1, image_id=70, category_id=9, bbox=[10, 20, 20, 5]) | rest,
            dict(id=2, image_id=70, category_id=5, bbox=[0, 90, 12, 10]) | rest,
        ],
    )
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(truth))
    ids = CocoIds(path)
    save(tmp_path, 'coco', found('a.jpg', BOXES), found('b.jpg', BOXES), ids=ids)
    assert not (tmp_path / 'coco_images.json').exists()
    coco = quietly(lambda: COCO(path))
    results = quietly(lambda: coco.loadRes(str(tmp_path / 'coco_results.json')))
    # Which `b.jpg` it is nobody knows.
    assert {row['image_id'] for row in results.dataset['annotations']} == {70}
    evaluation = quietly(lambda: COCOeval(coco, results, 'bbox'))
    quietly(lambda: (evaluation.evaluate(), evaluation.accumulate()))
    quietly(evaluation.summarize)
    assert evaluation.stats[1] == pytest.approx(1)
    with pytest.warns(Remark, match='1 pictures are not in'):
        ids.tell()
    other = Detections(BOXES.boxes, BOXES.scores, BOXES.labels, ('dot', 'line'))
    with pytest.raises(UserError, match="has no category 'line'"):
        save(tmp_path, 'coco', found('a.jpg', other), ids=CocoIds(path))


def test_yolo_is_in_fractions(tmp_path) -> None:
    save(tmp_path, 'yolo', found('a.jpg', BOXES), found('b.jpg', NONE),
         found('c.avi', BOXES, 3))  # fmt: skip
    folder = tmp_path / 'yolo'
    assert (folder / 'classes.txt').read_text().split() == list(CLASSES)
    rows = np.loadtxt(folder / 'a.txt')
    expected = [
        [1, 20 / 150, 22.5 / 100, 20 / 150, 5 / 100, 0.9],
        [0, 6 / 150, 95 / 100, 12 / 150, 10 / 100, 0.25],  # What is in the picture.
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert (folder / 'b.txt').read_text() == ''
    assert (folder / 'c' / '000003.txt').read_text() == (folder / 'a.txt').read_text()


def blobs(seed: int, size: tuple[int, int] = (60, 40)) -> np.ndarray:
    """A mask of three classes with holes, islands in holes and single pixels."""
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.random((10, 15)), size)
    mask = np.digitize(coarse, [0.4, 0.6]).astype(np.uint8)
    speckles = random.random(mask.shape) < 0.02
    return np.where(speckles, (mask + 1) % 3, mask).astype(np.uint8)


@pytest.mark.parametrize('seed', range(3))
def test_outlines_painted_in_order_are_the_mask(seed) -> None:
    mask = blobs(seed)
    painted = np.full(mask.shape, 255, np.uint8)
    ys, xs = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    centres = np.stack([xs, ys], -1).reshape(-1, 2)
    for label, outline, _ in outlines(mask):
        inside = Outline(outline, closed=False).contains_points(centres)
        painted[inside.reshape(mask.shape)] = label
    np.testing.assert_array_equal(painted, mask)


def test_polygons_are_annotations_of_coco(tmp_path) -> None:
    mask = np.zeros((100, 150), np.uint8)
    mask[10:50, 20:100] = 1
    save(tmp_path, 'polygons', found('a.png', Segmentation(mask, CLASSES)),
         found('b.png', Segmentation(mask, CLASSES)))  # fmt: skip
    coco = quietly(lambda: COCO(tmp_path / 'polygons.json'))
    [row] = coco.loadAnns(coco.getAnnIds(imgIds=[2], catIds=[2]))
    assert coco.loadCats(2)[0]['name'] == 'dash'
    np.testing.assert_allclose(row['bbox'], [20, 10, 80, 40], atol=1)
    overlap = coco_mask.iou(
        [coco.annToRLE(row)], [coco_mask.encode(np.asfortranarray(mask))], [0]
    )
    assert overlap[0, 0] == 1
    assert coco.getAnnIds() == [1, 2, 3, 4]


def test_masks_are_indices_with_a_palette(tmp_path) -> None:
    mask = (np.arange(15000).reshape(100, 150) // 50 % 2).astype(np.uint8)
    save(tmp_path, 'masks', found('a.jpg', Segmentation(mask, CLASSES)))
    with Image.open(tmp_path / 'masks' / 'a.png') as picture:
        assert picture.mode == 'P'
        np.testing.assert_array_equal(np.asarray(picture), mask)
        colours = np.asarray(picture.convert('RGB'))
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == 2


def test_csv_of_all_results(tmp_path) -> None:
    def rows(*results: Found) -> list[list[str]]:
        save(tmp_path, 'csv', *results)
        with (tmp_path / 'results.csv').open(newline='') as file:
            return list(csv.reader(file))

    assert rows(found('a, b.jpg', RANKS)) == [
        ['file', 'class', 'score', 'frame', 'time'],
        ['in/a, b.jpg', 'dash', '0.75', '', ''],
        ['in/a, b.jpg', 'dot', '0.25', '', ''],
    ]
    head, first, _ = rows(found('a.avi', BOXES, 3))
    assert dict(zip(head, first, strict=True)) == dict(
        file='in/a.avi', frame='3', time='0.5', score='0.9', x1='10.0', y1='20.0',
        x2='30.0', y2='25.0', **{'class': 'dash'},
    )  # fmt: skip
    mask = Segmentation(np.zeros((100, 150), np.uint8), CLASSES)
    assert rows(found('a.jpg', mask))[1][:3] == ['in/a.jpg', 'dot', '1.0']


def test_crops_are_what_is_in_the_boxes(tmp_path) -> None:
    odd = Detections(BOXES.boxes, BOXES.scores, BOXES.labels, ('../dot', 'a dash'))
    picture = found('b/a.jpg', odd)
    with crop_writer(tmp_path / 'crops') as write:
        write(picture)
        write(found('c.avi', odd, 3))
    files = sorted(p for p in tmp_path.rglob('*') if p.is_file())
    assert [str(path.relative_to(tmp_path / 'crops')) for path in files] == [
        '___dot/b/a_2.jpg', '___dot/c/000003_2.jpg', 'a dash/b/a_1.jpg',
        'a dash/c/000003_1.jpg',
    ]  # fmt: skip
    crop = cv2.imread(str(files[2]))
    expected = picture.picture[20:25, 10:30]
    np.testing.assert_allclose(crop.astype(int), expected.astype(int), atol=3)
    assert cv2.imread(str(files[0])).shape == (10, 12, 3)


@pytest.mark.parametrize('name', SAVE_FORMATS)
def test_formats_say_what_they_are_for(tmp_path, name) -> None:
    mask = Segmentation(np.zeros((100, 150), np.uint8), CLASSES)
    for result in (BOXES, mask, RANKS):
        if isinstance(result, SAVE_FORMATS[name].results):
            save(tmp_path / 'out', name, found('a.jpg', result))
            continue
        with pytest.raises(UserError, match=f'--save-format {name} has no place for'):
            save(tmp_path / 'none', name, found('a.jpg', result))
        assert not [p for p in tmp_path.glob('none/**/*') if p.is_file()]


def test_files_that_share_a_stem_keep_their_own(tmp_path) -> None:
    model = write_tiny(tmp_path, 'onnx')
    for name in ('a.png', 'a.jpg'):
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint8))
    predict_files(
        Predictor(model, threads=1),
        [tmp_path / 'a.jpg', tmp_path / 'a.png'],
        writers=[save_writer('yolo', tmp_path, CocoIds())],
        tell=lambda line: None,
    )
    assert sorted(p.name for p in (tmp_path / 'yolo').iterdir()) == [
        'a.txt', 'a_2.txt', 'classes.txt',
    ]  # fmt: skip


def test_the_tool_takes_all_of_them(tmp_path, capsys) -> None:
    model = write_tiny(tmp_path, 'onnx')
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((20, 30, 3), np.uint8))
    out = tmp_path / 'out'
    args = [model, tmp_path / 'a.png', '--score-thr', 0.1]
    done = run_tool(
        'predict.py', *args, '--save-dir', out, '--save-crops', out / 'crops',
        '--save-format', 'coco', 'yolo', 'csv', '--json', out / 'a.jsonl',
    )  # fmt: skip
    assert done == 0, capsys.readouterr().err
    names = {path.name for path in out.iterdir()}
    assert names == {
        'a.jsonl', 'coco_results.json', 'coco_images.json', 'yolo', 'results.csv',
        'crops',
    }  # fmt: skip
    assert run_tool('predict.py', *args, '--save-format', 'csv') == 2
    assert '--save-format needs a folder' in capsys.readouterr().err
    assert (
        run_tool('predict.py', *args, '--save-dir', out, '--save-format', 'masks') == 2
    )
    assert 'possible: --save-format coco yolo csv' in capsys.readouterr().err
