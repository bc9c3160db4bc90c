"""Tails of networks that are not in the zoo under their name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmnv3.arch import ZOO, NetSpec, apply_tail, get_spec, load_spec, save_spec
from mmnv3.errors import UserError
from tests.networks import edited_small


def _rows(spec: NetSpec, first: int) -> list[tuple[int, int]]:
    return [(block.expand, block.out) for block in spec.blocks[first - 1 :]]


@pytest.mark.parametrize('arch', ZOO)
@pytest.mark.parametrize('tail', ['detection', 'segmentation'])
def test_a_name_decides_nothing(arch: str, tail: str) -> None:
    renamed = replace(ZOO[arch], name='mine')
    if (arch, tail) == ('v1', 'segmentation'):
        with pytest.raises(UserError, match="'mine' has no segmentation tail"):
            apply_tail(renamed, tail)
        return
    found = get_spec(renamed, 0.75, tail)
    assert replace(found, name='') == replace(get_spec(arch, 0.75, tail), name='')
    assert found.name == f'mine_{tail}_0.75' and found.tail == tail


def test_a_renamed_large_is_halved_as_the_paper_says() -> None:
    renamed = replace(ZOO['large'], name='mine')
    detection = apply_tail(renamed, 'detection')
    assert _rows(detection, 13) == [(672, 80), (480, 80), (480, 80)]
    assert detection.last is not None and detection.last.out == 480
    segmentation = apply_tail(renamed, 'segmentation')
    assert _rows(segmentation, 13) == [(336, 80), (480, 80), (480, 80)]


def test_an_edited_small_is_halved_in_multiples_of_eight() -> None:
    # 88 / 2 = 44 is rounded to 48; 576 of 88 are 6.55 of an input, and so 312 of 48.
    detection = apply_tail(edited_small(), 'detection')
    assert _rows(detection, 8) == [(144, 40), (264, 48), (312, 48), (312, 48)]
    assert detection.last is not None and detection.last.out == 264
    # 264 / 2 = 132 is rounded to 136.
    segmentation = apply_tail(edited_small(), 'segmentation')
    assert _rows(segmentation, 8) == [(144, 40), (136, 48), (312, 48), (312, 48)]


def test_an_edited_network_scales() -> None:
    scaled = get_spec(edited_small(), 0.5)
    # Half of 40 is 20, rounded to 24; 264 of 40 are 6.6 of an input.
    assert _rows(scaled, 8) == [(88, 24), (160, 48), (312, 48), (312, 48)]
    assert scaled.head == ZOO['small'].head


def test_a_tail_is_applied_once() -> None:
    halved = apply_tail(ZOO['large'], 'detection')
    assert apply_tail(halved, 'detection') == halved
    with pytest.raises(UserError, match=r'has the detection tail already.*possible'):
        apply_tail(halved, 'segmentation')


def test_a_network_without_stride_32_has_nothing_to_halve() -> None:
    short = replace(ZOO['small'], blocks=ZOO['small'].blocks[:8])
    with pytest.raises(UserError, match='no block of stride 32'):
        apply_tail(short, 'detection')


def test_a_file_of_0_1_says_its_tail_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / 'found.json'
    for spec in (get_spec('small', tail='detection'), ZOO['small']):
        save_spec(replace(spec, name=f'{spec.name}_multiplier'), path)
        data = json.loads(path.read_text())
        assert data['format'] == 'mmnv3-arch-1'
        del data['tail']
        path.write_text(json.dumps(data))
        assert load_spec(path) == replace(spec, name=f'{spec.name}_multiplier')
