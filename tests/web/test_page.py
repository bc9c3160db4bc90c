"""The page in a real browser finds what Python finds, and says what is wrong.

It needs Chromium, Playwright and the page that `make web` builds; see `make test-web`.
"""

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from mmnv3 import Predictor
from mmnv3.datasets.demo import draw_scene
from mmnv3.deploy import site as site_module
from mmnv3.deploy.export import build_picture_graph, export_graph, write_file
from mmnv3.deploy.pipeline import file_input
from mmnv3.deploy.site import MANIFEST, write_site
from mmnv3.pictures import decode_picture, read_picture, write_picture
from mmnv3.size import Size
from studies.browser import SitePage, chromium, chromium_path, playwright, serving
from tests.deploy.cases import CASES, random_model
from tests.server import serve

pytest.importorskip('playwright', reason='playwright is not installed')
# Three minutes, in a browser.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chromium_path(), reason='there is no Chromium'),
    pytest.mark.skipif(
        not (site_module._PAGE / 'index.html').is_file(),
        reason='the page is not built; run `make web`',
    ),
]

# Chromium's camera that is none, and its consent.
CAMERA = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')
DETECTOR, SEGMENTER, CLASSIFIER = 'sigmoid', 'lraspp', 'classifier'
SHALLOW = 'wide'


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of a detector, a segmenter and a classifier."""
    folder = tmp_path_factory.mktemp('site') / 'site'
    for name in (DETECTOR, SEGMENTER, CLASSIFIER):
        model = random_model(CASES[name])
        graph, info = build_picture_graph(model, Size(*CASES[name].size))

        def export(path: Path, graph: Any = graph, info: Any = info) -> Any:
            export_graph(graph, info, path, 'onnx')
            return info

        write_site(folder, name, export)
    return folder


@pytest.fixture(scope='module')
def running() -> Iterator[Any]:
    with playwright() as found:
        yield found


@pytest.fixture(scope='module')
def browser(running: Any) -> Iterator[Any]:
    with chromium(running, *CAMERA) as found:
        yield found


@pytest.fixture(scope='module')
def address(site: Path) -> Iterator[str]:
    with serving(site) as found:
        yield found


@pytest.fixture(scope='module')
def page(browser: Any, address: str) -> SitePage:
    """A page whose model is loaded; errors in it are failures of the next test."""
    opened = SitePage(browser.new_page(), address)
    opened.wait_for_model()
    return opened


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty without loss, of twenty shapes."""
    folder = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(0)
    paths = []
    for number in range(20):
        height, width = rng.integers(40, 500, 2)
        scene = draw_scene(np.random.default_rng(number), 512).image[:height, :width]
        paths.append(folder / f'{number}.png')
        write_picture(paths[-1], scene)
    return paths


def python_file(site: Path, name: str) -> Path:
    return site / 'models' / f'{name}-fp32.onnx'


def message(page: SitePage) -> str:
    page.page.wait_for_selector('#message:visible', timeout=60_000)
    return page.page.inner_text('#message p')


def test_boxes_are_pythons(page: SitePage, site: Path, pictures: list[Path]) -> None:
    predict = Predictor(python_file(site, DETECTOR))
    assert compare_pictures(page, predict, pictures) > 100


def test_eight_bits_are_offered_and_pythons(
    browser: Any, pictures: list[Path], tmp_path: Path
) -> None:
    graph, info = build_picture_graph(
        random_model(CASES[SHALLOW]), Size(*CASES[SHALLOW].size)
    )
    batches = [file_input(read_picture(path), info) for path in pictures[:8]]
    precisions = ['fp32', 'int8']
    for precision in precisions:

        def export(path: Path, precision: str = precision) -> Any:
            write_file(graph, info, path, 'onnx', precision, lambda: batches)
            return replace(info, precision=precision)

        write_site(tmp_path / 'site', SHALLOW, export)
    with serving(tmp_path / 'site') as address:
        page = SitePage(browser.new_page(), address)
        page.wait_for_model()
        options = page.page.locator('#precision option')
        assert options.all_inner_texts() == precisions
        for precision in precisions:
            page.choose('precision', precision)
            assert page.page.inner_text('#subtitle') == f'{SHALLOW} · {precision}'
            file = tmp_path / f'site/models/{SHALLOW}-{precision}.onnx'
            assert compare_pictures(page, Predictor(file), pictures[8:12]) > 20
        page.page.close()


def compare_pictures(page: SitePage, predict: Predictor, pictures: list[Path]) -> int:
    """How many boxes the page and Python both found in pictures."""
    page.set_slider('threshold', 0.5)
    page.set_slider('limit', 100)
    seen = 0
    for path in pictures:
        page.look(path)
        row = page.found()
        picture = read_picture(path)
        assert (row['file'], row['size']) == (path.name, [*picture.shape[1::-1]])
        truth = predict(path)
        # Of scores beside the threshold rounding decides.
        sure = [each for each in row['found'] if each['score'] > 0.502]
        names = [truth.classes[label] for label in truth.labels]
        wanted = [
            (name, score, box)
            for name, score, box in zip(names, truth.scores, truth.boxes)
            if score > 0.502
        ]
        assert len(row['found']) >= len(sure)
        compare_boxes(sure, wanted)
        seen += len(wanted)
    return seen


def compare_boxes(found: list[dict], wanted: list[tuple]) -> None:
    """Pairs them by place and class, since equal scores may change their order."""
    assert abs(len(found) - len(wanted)) <= sum(
        abs(score - 0.502) < 2e-3 for _, score, _ in wanted
    ) + sum(abs(each['score'] - 0.502) < 2e-3 for each in found)
    for name, score, box in wanted:
        if abs(score - 0.502) < 2e-3:
            continue
        near = [
            each
            for each in found
            if each['class'] == name
            and np.abs(np.subtract(each['box'], box)).max() < 0.1
        ]
        assert any(abs(each['score'] - score) < 2e-3 for each in near), (name, score)


def test_masks_are_pythons(page: SitePage, site: Path, pictures: list[Path]) -> None:
    page.choose('model', SEGMENTER)
    predict = Predictor(python_file(site, SEGMENTER))
    equal, several = [], 0
    for path in pictures[:8]:
        page.look(path)
        found, truth = page.mask(), predict(path).mask
        assert found.shape == truth.shape
        several += len(np.unique(truth)) > 2
        equal += [
            ((found == label) & (truth == label)).sum()
            / ((found == label) | (truth == label)).sum()
            for label in np.unique(truth)
            if (truth == label).mean() > 0.01
        ]
    assert several > 4
    assert np.mean(equal) >= 0.999, np.mean(equal)
    # The JSON says the shares of the same mask.
    shares = {row['class']: row['share'] for row in page.found()['found']}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_classes_are_pythons(page: SitePage, site: Path, pictures: list[Path]) -> None:
    page.choose('model', CLASSIFIER)
    predict = Predictor(python_file(site, CLASSIFIER))
    for path in pictures[:5]:
        page.look(path)
        found, truth = page.found()['found'], predict(path)
        scores = [each['score'] for each in found]
        np.testing.assert_allclose(scores, truth.scores, atol=2e-3)
        assert found[0]['class'] == truth.classes[truth.labels[0]]
    page.choose('model', DETECTOR)


GIVE = """
([name, type, text, kind]) => {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type }));
    const how = kind === 'drop' ? { dataTransfer: data } : { clipboardData: data };
    const Kind = kind === 'drop' ? DragEvent : ClipboardEvent;
    document.getElementById('stage').dispatchEvent(
        new Kind(kind, { ...how, bubbles: true, cancelable: true }));
}
"""


@pytest.mark.parametrize('kind', ['drop', 'paste'])
def test_pictures_are_dropped_and_pasted(
    page: SitePage, pictures: list[Path], kind: str
) -> None:
    content = base64.b64encode(pictures[3].read_bytes()).decode()
    page.page.evaluate(GIVE, [f'{kind}.png', 'image/png', content, kind])
    page.wait_for_result(f'{kind}.png: ')


def test_the_saved_picture_has_the_box_in_its_colour(
    page: SitePage, site: Path, tmp_path: Path
) -> None:
    # One grey, so that what is drawn can be told.
    write_picture(tmp_path / 'grey.png', np.full((60, 80, 3), 90, np.uint8))
    page.look(tmp_path / 'grey.png')
    page.set_slider('threshold', 0.05)
    page.set_slider('limit', 1)
    (found,) = page.found()['found']
    drawn = decode_picture(page.save('save-picture'))
    # Enlarged twelve times, to 960.
    assert drawn.shape == (720, 960, 3)
    (row,) = (
        row
        for row in json.loads((site / MANIFEST).read_text())['models']
        if row['name'] == DETECTOR
    )
    colour = row['palette'][row['classes'].index(found['class'])]
    x1, y1, x2, y2 = (12 * side for side in found['box'])
    edges = [(x1, (y1 + y2) / 2), (x2, (y1 + y2) / 2), ((x1 + x2) / 2, y2)]
    inside = [(int(x), int(y)) for x, y in edges if 5 < x < 955 and 5 < y < 715]
    assert inside
    for x, y in inside:
        assert np.abs(drawn[y, x, ::-1].astype(int) - colour).max() < 8, (x, y)
    assert (drawn == 90).all(-1).mean() > 0.5


def test_the_keyboard_suffices(page: SitePage) -> None:
    page.page.locator('body').press('2')
    page.wait_for_result('2.jpg: ')
    page.page.keyboard.press('m')
    page.page.wait_for_function(
        'document.getElementById("time-count").textContent === "median of 50"',
        timeout=120_000,
    )
    assert page.times()['Network'] > 0
    with page.page.expect_download():
        page.page.keyboard.press('j')


def test_an_unreadable_picture_is_told_and_changes_nothing(
    page: SitePage, tmp_path: Path
) -> None:
    page.page.locator('body').press('1')
    page.wait_for_result('1.jpg: ')
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'\x89PNG\r\n\x1a\n' + b'nothing' * 9)
    page.page.set_input_files('#file', broken)
    assert message(page) == 'broken.png is no picture that this browser can read.'
    page.page.click('#dismiss')
    assert page.page.is_hidden('#message')
    assert page.found()['file'] == '1.jpg'


def test_a_camera_runs_in_flat_memory(browser: Any, address: str) -> None:
    page = SitePage(browser.new_page(), address)
    page.wait_for_model()
    page.page.locator('body').press('c')
    page.wait_for_result('camera: ')
    canvas = page.page.locator('#canvas')
    page.page.wait_for_timeout(8000)
    before, first = memory_mib(), canvas.screenshot()
    page.page.wait_for_timeout(30_000)
    grown, last = memory_mib() - before, canvas.screenshot()
    assert page.times()['Frames a second'] > 0
    assert first != last
    # A frame of 640x480 that is not freed takes 1.2 MiB.
    assert grown < 40, grown
    page.page.keyboard.press(' ')
    page.page.wait_for_selector('#pause[aria-pressed=true]')
    page.page.keyboard.press('c')
    page.page.wait_for_selector('#camera[aria-pressed=false]')
    page.page.close()


def memory_mib() -> float:
    """What all processes of the browser hold of their own."""
    children = psutil.Process().children(recursive=True)
    browsers = [child for child in children if '--type=' in ' '.join(child.cmdline())]
    assert browsers
    return sum(child.memory_full_info().uss for child in browsers) / 2**20


def test_all_works_without_a_network(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = SitePage(context.new_page(), address)
    page.wait_for_model()
    page.page.wait_for_function(
        'document.getElementById("offline").textContent !== ""', timeout=60_000
    )
    context.set_offline(True)
    page.page.reload()
    page.wait_for_model()
    assert page.page.is_hidden('#message')
    context.close()


def test_a_plain_server_gives_one_thread_and_the_page_says_so(
    browser: Any, site: Path
) -> None:
    with serve(site) as plain:
        page = SitePage(browser.new_page(), plain)
        page.wait_for_model()
        assert page.page.locator('#backend option').all_inner_texts() == [
            'WebAssembly, 1 thread'
        ]
        assert 'One thread' in page.page.inner_text('#backend-note')
        page.page.close()


def test_the_isolated_page_has_all_threads(page: SitePage) -> None:
    count = min(4, os.cpu_count() or 1)
    assert f'{count} thread' in page.page.locator('#backend option').first.inner_text()


def test_missing_files_are_told(browser: Any, site: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'site'
    shutil.copytree(site, folder, copy_function=os.link)
    model = python_file(folder, DETECTOR)
    content = model.read_bytes()
    model.unlink()
    with serving(folder) as address:
        page = SitePage(browser.new_page(), address)
        name = model.relative_to(folder).as_posix()
        assert message(page).startswith(f'{name} is not on the server (status 404)')
        model.write_bytes(content[:-1])
        page.page.reload()
        assert f'{name} has {len(content) - 1} bytes instead of {len(content)}' in (
            message(page)
        )
        page.page.close()
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest['models'] = []
        (folder / MANIFEST).unlink()
        (folder / MANIFEST).write_text(json.dumps(manifest))
        page = SitePage(browser.new_page(), address)
        assert message(page).startswith('There is no models.json beside this page')
        page.page.close()


def test_a_damaged_model_is_told(browser: Any, site: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'site'
    shutil.copytree(site, folder, copy_function=os.link)
    model = python_file(folder, DETECTOR)
    size = model.stat().st_size
    model.unlink()
    model.write_bytes(bytes(size))
    with serving(folder) as address:
        page = SitePage(browser.new_page(), address)
        assert 'cannot be loaded' in message(page)
        page.page.close()


def test_a_denied_camera_is_told(running: Any, address: str) -> None:
    # Without the flags headless Chromium denies what it is asked.
    with chromium(running, '--use-fake-device-for-media-stream') as browser:
        page = SitePage(browser.new_page(), address)
        page.wait_for_model()
        page.page.click('#camera')
        assert message(page).startswith('The camera was denied. Allow it')
        assert page.page.get_attribute('#camera', 'aria-pressed') == 'false'


def test_a_browser_without_simd_is_told(running: Any, address: str) -> None:
    # V8's SIMD of WebAssembly is made of these instructions.
    with chromium(
        running, '--js-flags=--no-enable-sse4-1 --no-enable-ssse3'
    ) as browser:
        page = SitePage(browser.new_page(), address)
        assert 'WebAssembly has no SIMD' in message(page)
        assert page.page.get_attribute('body', 'data-model') == 'failed'


def test_a_video_plays(page: SitePage, tmp_path: Path) -> None:
    path = tmp_path / 'moving.webm'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'VP80'), 10, (160, 120))
    if not writer.isOpened():
        pytest.skip('this OpenCV writes no VP8')
    for number in range(20):
        writer.write(np.full((120, 160, 3), 10 * number, np.uint8))
    writer.release()
    page.page.set_input_files('#file', path)
    page.wait_for_result('moving.webm: ')
    deadline = time.monotonic() + 30
    while 'Frames a second' not in page.times():
        assert time.monotonic() < deadline
    page.page.locator('body').press('1')
    page.wait_for_result('1.jpg: ')
