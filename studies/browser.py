"""A site in headless Chromium: its time beside native ONNX Runtime, and pictures of it.

Example:
    make web-demo   # Ctrl-C when it serves
    python -m studies.browser work_dirs/demo_site --times
    python -m studies.browser work_dirs/demo_site --pictures docs
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from mmnv3 import arguments
from mmnv3.benchmark.machine import describe_machine
from mmnv3.datasets.demo import draw_scene
from mmnv3.deploy.serve import make_server
from mmnv3.deploy.site import MANIFEST
from mmnv3.errors import UserError, one_line_errors
from mmnv3.optional import require
from mmnv3.pictures import decode_picture
from studies.page import markdown_table

# As Debian and others name it.
_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
# Pixels of the picture that is timed, and the seed that draws it.
_SIDE, _SEED = 320, 7
# What the page's button takes the median of.
_MEASURED = 50
# Name, size, colours, and whether it is a phone.
_PICTURES: dict[str, dict[str, Any]] = {
    'browser': dict(viewport=dict(width=1240, height=850), color_scheme='light'),
    'browser_dark': dict(viewport=dict(width=1240, height=850), color_scheme='dark'),
    'browser_phone': dict(
        viewport=dict(width=390, height=844),
        color_scheme='light',
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
    ),
}


def chromium_path() -> str | None:
    """The system's Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def playwright() -> Iterator[Any]:
    """Starts Playwright, of which a process can run one.

    Raises:
        UserError: When it is missing.
    """
    with require('playwright.sync_api', 'test-web').sync_playwright() as running:
        yield running


@contextmanager
def chromium(running: Any, *flags: str) -> Iterator[Any]:
    """Starts headless Chromium.

    Args:
        running: What :func:`playwright` gives.
        flags: Of its command line.

    Yields:
        Playwright's ``Browser``.

    Raises:
        UserError: When Chromium is missing.
    """
    path = chromium_path()
    if path is None:
        raise UserError('there is no Chromium; on Debian apt-get install chromium')
    # Containers have no rights for its sandbox, and it opens our own page alone.
    browser = running.chromium.launch(
        executable_path=path, args=['--no-sandbox', *flags]
    )
    yield browser
    browser.close()


@contextmanager
def serving(site: str | Path) -> Iterator[str]:
    """Serves a site as `tools/web.py` does, and yields its address."""
    with make_server(site, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://localhost:{server.server_port}/'
        server.shutdown()


class SitePage:
    """The page of a site, used as a person does.

    Args:
        page: Playwright's ``Page``.
        address: Of the site.
    """

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        page.goto(address)

    def wait_for_model(self) -> None:
        """Waits until the model is loaded and has looked into the first sample."""
        self.page.wait_for_selector('body[data-model=ready]', timeout=120_000)
        self.wait_for_result()

    def wait_for_result(self, name: str = ' ') -> None:
        """Waits until a picture, by default any, was looked into."""
        seen = f'#canvas[aria-label*="{name}"]:not([aria-label$="not looked into yet"])'
        self.page.wait_for_selector(seen, timeout=60_000)

    def look(self, path: str | Path) -> None:
        """Opens a picture, and waits until it was looked into."""
        self.page.set_input_files('#file', str(path))
        self.wait_for_result(f'{Path(path).name}: ')

    def choose(self, select: str, label: str) -> None:
        """Chooses from a list, as ``'backend'``, and waits for the model."""
        self.page.select_option(f'#{select}', label=label)
        self.wait_for_model()

    def set_slider(self, slider: str, value: float) -> None:
        """Moves a slider, as ``'threshold'``."""
        self.page.locator(f'#{slider}').fill(str(value))

    def save(self, button: str) -> bytes:
        """Presses ``'save-json'``, ``'save-mask'`` or ``'save-picture'``."""
        with self.page.expect_download() as download:
            self.page.click(f'#{button}')
        return Path(download.value.path()).read_bytes()

    def found(self) -> dict[str, Any]:
        """What the saved JSON says of the picture."""
        (row,) = json.loads(self.save('save-json'))
        return row

    def mask(self) -> np.ndarray:
        """The saved mask, (H, W)."""
        return decode_picture(self.save('save-mask'))[..., 0]

    def times(self) -> dict[str, float]:
        """The medians that the page shows, in milliseconds but for frames a second."""
        texts = self.page.locator('#times dt, #times dd').all_inner_texts()
        return {
            name: float(value.removesuffix(' ms'))
            for name, value in zip(texts[::2], texts[1::2])
        }

    def measure(self) -> float:
        """Milliseconds of the network, the median of :data:`_MEASURED` pictures."""
        self.page.click('#measure')
        self.page.wait_for_function(
            'n => document.getElementById("time-count").innerText === "median of " + n'
            ' && !document.getElementById("measure").disabled',
            arg=_MEASURED,
            timeout=300_000,
        )
        return self.times()['Network']


def measure_site(site: Path, rounds: int, folder: Path) -> str:
    """Times the first model of a site in the page and natively, in turn.

    Args:
        site: The folder.
        rounds: How often each is timed.
        folder: For the picture.

    Returns:
        A table in Markdown.
    """
    onnxruntime = require('onnxruntime', 'onnx')
    row = json.loads((site / MANIFEST).read_text())['models'][0]
    picture = draw_scene(np.random.default_rng(_SEED), _SIDE).image
    path = folder / 'timed.png'
    path.write_bytes(cv2.imencode('.png', picture)[1].tobytes())
    feed = {row['input']: np.ascontiguousarray(picture[..., ::-1])}

    def native(threads: int) -> float:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            site / row['file'], options, providers=['CPUExecutionProvider']
        )
        taken = []
        for _ in range(_MEASURED + 1):
            begin = time.perf_counter()
            session.run(None, feed)
            taken.append(1e3 * (time.perf_counter() - begin))
        return median(taken[1:])

    with (
        serving(site) as address,
        playwright() as running,
        chromium(running) as browser,
    ):
        pages = {}
        labels = SitePage(browser.new_page(), address)
        labels.wait_for_model()
        for label in labels.page.locator('#backend option').all_inner_texts():
            if not label.startswith('WebAssembly'):
                continue
            page = SitePage(browser.new_page(), address)
            page.wait_for_model()
            page.choose('backend', label)
            page.look(path)
            pages[int(label.split()[1])] = page
        labels.page.close()
        version = browser.version
        taken: dict[tuple[int, str], list[float]] = {}
        for _ in range(rounds):
            for threads, page in pages.items():
                taken.setdefault((threads, 'page'), []).append(page.measure())
                taken.setdefault((threads, 'native'), []).append(native(threads))
    rows = []
    for threads in sorted(pages):
        page_ms, native_ms = (taken[threads, how] for how in ('page', 'native'))
        ratio = median(a / b for a, b in zip(page_ms, native_ms))
        figures = [f'{median(values):.1f}' for values in (page_ms, native_ms)]
        rows.append([str(threads), *figures, f'{ratio:.2f}'])
    machine = describe_machine(max(pages))
    table = markdown_table(['threads', 'WebAssembly, ms', 'native, ms', 'ratio'], rows)
    return (
        f'{row["name"]}, {row["precision"]}, a picture of {_SIDE}x{_SIDE}; '
        f'{machine["processor"]}, {machine["cores"]} cores; Chromium {version}, '
        f'onnxruntime {machine["packages"]["onnxruntime"]}\n\n{table}'
    )


def take_pictures(site: Path, sample: int, folder: Path) -> list[Path]:
    """Writes pictures of the page: light, dark, and as a phone shows it.

    Args:
        site: The folder.
        sample: Its sample that is looked into, from 1.
        folder: Where to write.
    """
    written = []
    with (
        serving(site) as address,
        playwright() as running,
        chromium(running) as browser,
    ):
        for name, how in _PICTURES.items():
            page = SitePage(browser.new_page(**how), address)
            page.wait_for_model()
            page.page.keyboard.press(str(sample))
            page.wait_for_result(f'{sample}.jpg: ')
            page.measure()
            page.page.mouse.move(0, 0)
            path = folder / f'{name}.png'
            page.page.screenshot(path=path, full_page='phone' in name)
            page.page.close()
            written.append(path)
    return written


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments; prints a table, and writes pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('site', type=arguments.path, help='folder of the site')
    parser.add_argument('--times', action='store_true', help='time the first model')
    parser.add_argument(
        '--rounds', type=arguments.count, default=3, help='how often each; 3 by default'
    )
    parser.add_argument('--pictures', type=arguments.path, help='folder to draw into')
    parser.add_argument(
        '--sample', type=arguments.whole_number(1, 9), default=1, help='that is shown'
    )
    args = parser.parse_args(argv)
    if args.times:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            print(measure_site(args.site, args.rounds, Path(folder)))
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        print(*take_pictures(args.site, args.sample, args.pictures), sep='\n')


if __name__ == '__main__':
    main()
