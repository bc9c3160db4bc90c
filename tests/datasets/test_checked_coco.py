"""Annotations that mmdet would drop or mix up in silence."""

import json
from pathlib import Path

import pytest

from mmnv3.datasets import CheckedCocoDataset
from mmnv3.errors import UserError


def annotation(index: int, bbox: list[float], **other: object) -> dict:
    given = dict(
        id=index, image_id=1, category_id=1, bbox=bbox, area=bbox[2] * bbox[3],
        iscrowd=0)  # fmt: skip
    return {**given, **other}


def coco(**changes: object) -> dict:
    data = dict(
        images=[dict(id=1, file_name='a.jpg', width=100, height=80)],
        annotations=[annotation(1, [10, 10, 20, 20])],
        categories=[dict(id=1, name='cat'), dict(id=5, name='dog')],
    )
    return {**data, **changes}


def build(
    folder: Path, data: object, classes: tuple[str, ...] = ('cat', 'dog'), **kwargs
) -> CheckedCocoDataset:
    text = data if isinstance(data, str) else json.dumps(data)
    (folder / 'ann.json').write_text(text)
    return CheckedCocoDataset(
        ann_file=str(folder / 'ann.json'),
        data_prefix=dict(img=str(folder)),
        metainfo=dict(classes=classes),
        **kwargs,
    )


def test_a_good_file_loads(tmp_path: Path) -> None:
    dataset = build(tmp_path, coco())
    assert dataset.get_data_info(0)['instances'][0]['bbox'] == [10, 10, 30, 30]


def test_a_class_that_no_file_has_keeps_its_place(tmp_path: Path) -> None:
    annotations = [annotation(1, [10, 10, 20, 20], category_id=5)]
    (tmp_path / 'ann.json').write_text(json.dumps(coco(annotations=annotations)))
    settings = dict(
        ann_file=str(tmp_path / 'ann.json'),
        data_prefix=dict(img=str(tmp_path)),
        filter_cfg=dict(filter_empty_gt=True),
    )
    metainfo = dict(classes=('cat', 'unicorn', 'dog'), unused=('unicorn',))
    dataset = CheckedCocoDataset(metainfo=metainfo, **settings)
    assert dataset.get_data_info(0)['instances'][0]['bbox_label'] == 2
    with pytest.raises(UserError, match="no category 'unicorn'"):
        CheckedCocoDataset(metainfo=dict(classes=metainfo['classes']), **settings)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ('{"images":', 'not a readable JSON'),
        ('[]', 'not a COCO annotation file'),
        (dict(images=[], annotations=[]), 'not a COCO annotation file'),
        (coco(annotations=[dict(id=1, image_id=1)]), r"annotations\[0\] lacks 'cat"),
        (coco(categories=[dict(id=1, name='cat')]), "no category 'dog'.*'cat'"),
        (
            coco(categories=[dict(id=1, name='dog'), dict(id=2, name='cat')]),
            'as dog, cat.*same order',
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, data: object, message: str) -> None:
    with pytest.raises(UserError, match=rf'ann\.json.*{message}') as error:
        build(tmp_path, data)
    assert '\n' not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'gone\.json: there is no such annotation'):
        CheckedCocoDataset(
            ann_file=str(tmp_path / 'gone.json'), metainfo=dict(classes=('cat',))
        )


def test_the_file_is_parsed_once(tmp_path: Path, monkeypatch) -> None:
    parsed, loads = [], json.loads

    def count(*args: object, **kwargs: object) -> object:
        parsed.append(1)
        return loads(*args, **kwargs)

    monkeypatch.setattr(json, 'loads', count)
    assert len(build(tmp_path, coco())) == 1
    assert len(parsed) == 1


def test_a_file_without_annotations_is_for_testing_only(tmp_path: Path) -> None:
    data = coco()
    del data['annotations']
    dataset = build(tmp_path, data, test_mode=True)
    assert len(dataset) == 1
    assert dataset.get_data_info(0)['instances'] == []
    with pytest.raises(UserError, match='needs the lists images, annotations, categ'):
        build(tmp_path, data)


def test_backend_args_say_how_to_fetch(tmp_path: Path) -> None:
    backend_args = dict(backend='mmnv3_elsewhere')
    with pytest.raises(UserError, match=r'ann\.json: cannot be opened \(No such'):
        build(tmp_path, coco(), backend_args=backend_args)
    (tmp_path / 'ann.json').rename(tmp_path / 'ann.json.stored')
    dataset = CheckedCocoDataset(
        ann_file=str(tmp_path / 'ann.json'),
        data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=('cat', 'dog')),
        backend_args=backend_args,
    )
    assert dataset.get_data_info(0)['instances'][0]['bbox'] == [10, 10, 30, 30]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, which mmengine's loggers do not pass on."""
    found = []
    monkeypatch.setattr(
        'mmnv3.datasets.checked_coco.print_log', lambda line, **_: found.append(line)
    )
    return found


def test_what_is_dropped_is_counted(tmp_path: Path, lines: list[str]) -> None:
    bad = [
        annotation(2, [200, 10, 20, 20]),
        annotation(3, [10, 10, 0.5, 20]),
        annotation(4, [10, 10, 0.5, 20]),
        {**annotation(5, [10, 10, 20, 20]), 'category_id': 77},
        {**annotation(6, [10, 10, 20, 20]), 'image_id': 9},
    ]
    dataset = build(tmp_path, coco(annotations=[annotation(1, [90, 70, 20, 20]), *bad]))
    # A box that is partly inside stays, as in mmdet.
    assert len(dataset.get_data_info(0)['instances']) == 1
    for line in (
        '1 annotations are skipped, their box lies outside',
        '2 annotations are skipped, their box has no area',
        '1 annotations are skipped, of categories that the config does not know',
        '1 annotations are skipped, their image is not listed',
    ):
        assert any(f'ann.json: {line}' in message for message in lines), line


def test_images_without_objects(tmp_path: Path, lines: list[str]) -> None:
    images = [dict(id=i, file_name=f'{i}.jpg', width=100, height=80) for i in (1, 2, 3)]
    dataset = build(
        tmp_path, coco(images=images), filter_cfg=dict(filter_empty_gt=True)
    )
    assert len(dataset) == 1
    assert any('2 of 3 images are skipped' in line for line in lines)
    # They count in testing, where a false alarm on them must show.
    assert len(build(tmp_path, coco(images=images), test_mode=True)) == 3
    with pytest.raises(UserError, match='leaves no image with an object of cat, dog'):
        build(
            tmp_path,
            coco(images=images, annotations=[]),
            filter_cfg=dict(filter_empty_gt=True),
        )
