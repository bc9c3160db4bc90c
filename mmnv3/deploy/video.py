"""Frames of videos, cameras and streams; and videos to write frames to."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from mmnv3.errors import Remark, UserError, first_line
from mmnv3.files import check_room, temporary_folder, whole_or_absent

# How OpenCV's wheels write videos, by ending.
CODECS = {
    '.avi': 'MJPG',
    '.m4v': 'mp4v',
    '.mkv': 'mp4v',
    '.mov': 'mp4v',
    '.mp4': 'mp4v',
    '.webm': 'VP80',
}
# What is read besides, and written as .mp4.
_READ = (
    '.3gp',
    '.asf',
    '.flv',
    '.m2ts',
    '.mpeg',
    '.mpg',
    '.mts',
    '.ogv',
    '.ts',
    '.wmv',
)
_USUAL_FPS = 25.0
_MOST_FPS = 1000.0
# Frames between two looks at whether the disk still has room.
_LOOK_EVERY = 50
# What waits at most for a camera's thread, which may be in a call of its driver.
_PATIENCE_S = 2.0

_Frames = Generator[tuple[float, np.ndarray], None, None]


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        number: From 0; a camera's dropped frames have none.
        time_s: Seconds since the begin: by the file, or by the clock of a camera.
        picture: (H, W, 3) uint8, BGR.
    """

    number: int
    time_s: float
    picture: np.ndarray


def is_video(path: Path, named: bool = False) -> bool:
    """Whether a file is to be read as a video.

    Args:
        path: The file.
        named: Whether somebody named it, so that it is worth trying what has the
            ending of no video. A text is none, although FFmpeg would film it.
    """
    if path.suffix.lower() in CODECS or path.suffix.lower() in _READ:
        return True
    if not named or not _has_text_name(path) or cv2.haveImageReader(str(path)):
        return False
    with path.open('rb') as file:
        if b'\0' not in file.read(4096):
            return False
    capture = _open(str(path))
    try:
        return capture.isOpened() and capture.grab()
    finally:
        capture.release()


def video_name(path: Path) -> Path:
    """A name under which a video can be written: itself, or with ``.mp4``."""
    return path if path.suffix.lower() in CODECS else path.with_suffix('.mp4')


@dataclass(frozen=True)
class Live:
    """A camera, or what is at an address.

    Attributes:
        address: Number of the camera, or URL.
        name: What it is called, without the password that a URL may hold.
    """

    address: int | str
    name: str

    @classmethod
    def of(cls, source: str | Path) -> Live | None:
        """What a source of the command line names; None for files and folders."""
        text = str(source)
        if re.fullmatch(r'[0-9]{1,4}', text) and not os.path.lexists(text):
            return cls(int(text), f'camera {int(text)}')
        if re.match(r'[a-z][a-z0-9+.-]*://', text, re.IGNORECASE):
            try:
                address = urlsplit(text)
            except ValueError as error:
                raise UserError(f'{text}: no address ({error})') from None
            place = address.netloc.rpartition('@')[2] + address.path
            return cls(text, f'{address.scheme}://{place}')
        return None

    @property
    def place(self) -> Path:
        """A file name for what is written of it."""
        path = Path(re.sub(r'\W+', '_', self.name.rpartition('://')[2]).strip('_'))
        ending = Path(self.name).suffix
        if ending.lower() in CODECS:
            return Path(path.name.removesuffix(ending.replace('.', '_')) + ending)
        return path.with_name(f'{path.name}.mp4')


class Video:
    """An open video.

    Attributes:
        name: What it is called.
        fps: Frames a second; 25 where it does not say.
        announced: Frames that it says it has; 0 where it does not.
        live: Whether frames come by the clock, and are gone if nobody takes them.
    """

    def __init__(self, source: Path | Live) -> None:
        """Opens it.

        Raises:
            UserError: When it cannot be opened.
        """
        if isinstance(source, Path):
            if not _has_text_name(source):
                raise UserError(f'{source}: OpenCV opens no name that is no UTF-8')
            self.name = str(source)
            address: int | str = self.name
        else:
            self.name, address = source.name, source.address
        self._capture = _open(address)
        if not self._capture.isOpened():
            self._capture.release()
            raise UserError(f'{self.name}: {_why_not(source)}')
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= _MOST_FPS else _USUAL_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(count) if 0 < count < 2**40 else 0
        self.live = isinstance(source, Live) and not self.announced

    def frames(self) -> Iterator[Frame]:
        """Its frames; of a live one always the newest, and none twice.

        Closes the video in the end. Where it ends before it said, a remark says so.

        Raises:
            UserError: When there is not even one.
        """
        read = _newest(self._capture) if self.live else _all(self._capture, self.fps)
        number, time_s = 0, 0.0
        try:
            for time_s, picture in read:
                yield Frame(number, time_s, picture)
                number += 1
        finally:
            read.close()
        if not number:
            raise UserError(f'{self.name}: a video of which no frame can be decoded')
        # A count that is no more than a guess by the length may be one too many.
        early = time_s + 1.5 / self.fps < self.announced / self.fps
        if number < self.announced and early:
            warnings.warn(
                f'{self.name} ends, or cannot be decoded, after frame {number} of '
                f'{self.announced} that it announces; those before it were used',
                Remark,
                stacklevel=2,
            )


def _has_text_name(path: Path) -> bool:
    # OpenCV 5 crashes where a name is no UTF-8.
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _open(address: int | str) -> cv2.VideoCapture:
    # Both would print lines of their own beside ours.
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    # OpenCV 5 has it elsewhere than 4. 0 is silence.
    set_level = getattr(cv2, 'setLogLevel', None) or cv2.utils.logging.setLogLevel
    set_level(0)
    try:
        return cv2.VideoCapture(address)
    except cv2.error:
        return cv2.VideoCapture()


def _why_not(source: Path | Live) -> str:
    if isinstance(source, Path):
        return 'not a readable video'
    if isinstance(source.address, int):
        return (
            'cannot be opened: there is none of this number, another program has it, '
            'or you may not use it'
        )
    return 'cannot be opened: nothing answers there, or it is no video'


def _read(capture: cv2.VideoCapture) -> np.ndarray | None:
    try:
        taken, picture = capture.read()
    except cv2.error:
        return None
    return picture if taken else None


def _all(
    capture: cv2.VideoCapture, fps: float
) -> Generator[tuple[float, np.ndarray], None, None]:
    """Every frame with its time in seconds."""
    try:
        number = 0
        while (picture := _read(capture)) is not None:
            time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Not every backend knows times.
            yield (time_s if time_s > 0 else number / fps), picture
            number += 1
    finally:
        capture.release()


def _newest(
    capture: cv2.VideoCapture,
) -> Generator[tuple[float, np.ndarray], None, None]:
    """The newest frame whenever one is asked for, with its time in seconds."""
    begin = time.monotonic()
    news = threading.Condition()
    newest: list[tuple[float, np.ndarray]] = []
    state = {'wanted': True, 'open': True}

    def read() -> None:
        try:
            while state['wanted'] and (picture := _read(capture)) is not None:
                with news:
                    newest[:] = [(time.monotonic() - begin, picture)]
                    news.notify()
        finally:
            # Not elsewhere, while it may be reading.
            capture.release()
            with news:
                state['open'] = False
                news.notify()

    thread = threading.Thread(target=read, name='mmnv3-camera', daemon=True)
    thread.start()
    try:
        while True:
            with news:
                news.wait_for(lambda: newest or not state['open'])
                if not newest:
                    return
                taken = newest.pop()
            yield taken
    finally:
        state['wanted'] = False
        thread.join(_PATIENCE_S)


@contextmanager
def write_video(
    path: Path, fps: float
) -> Iterator[Callable[[np.ndarray, float | None], None]]:
    """Writes a video, which appears in the end, also when that is Ctrl-C.

    Args:
        path: The file; its ending, of `CODECS`, says which codec.
        fps: Frames a second.

    Yields:
        What takes a frame, (H, W, 3) uint8, BGR, and the seconds at which it is to be
        seen: the frame before is repeated until then; None does not repeat any. The
        first says the size, to which the others are brought.

    Raises:
        UserError: When this OpenCV has no such codec, or the file is not whole in the
            end.
        OSError: When the disk is full.
    """
    stopped: KeyboardInterrupt | None = None
    # OpenCV finds container and codec by the ending.
    with (
        whole_or_absent(path) as partial,
        temporary_folder(path) as folder,
        _Writer(folder / f'video{path.suffix}', path, fps) as writer,
    ):
        try:
            yield writer.write
        except KeyboardInterrupt as error:
            stopped = error
        writer.finish()
        os.replace(writer.file, partial)
    if stopped is not None:
        raise stopped


class _Writer:
    """OpenCV's, that does not say when it fails, with a look at what it has written."""

    def __init__(self, file: Path, path: Path, fps: float) -> None:
        self.file, self._path, self._fps = file, path, fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0
        self._last = np.empty(0)
        self._begin_s = 0.0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, picture: np.ndarray, time_s: float | None) -> None:
        if self._writer is None:
            self._size = picture.shape[1], picture.shape[0]
            self._writer = self._start()
            self._begin_s = time_s or 0.0
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size)
        due = 0 if time_s is None else round((time_s - self._begin_s) * self._fps)
        while 0 < self._count < due:
            self._put(self._last)
        self._put(picture)

    def _start(self) -> cv2.VideoWriter:
        code = CODECS[self._path.suffix.lower()]
        fourcc = cv2.VideoWriter.fourcc(*code)
        writer = cv2.VideoWriter(str(self.file), fourcc, self._fps, self._size)
        if not writer.isOpened():
            check_room(self.file.parent)
            raise UserError(
                f'{self._path}: this OpenCV ({cv2.__version__}) writes no {code} into '
                f'{self._path.suffix}; take the opencv-python of PyPI'
            )
        return writer

    def _put(self, picture: np.ndarray) -> None:
        assert self._writer is not None
        if self._count % _LOOK_EVERY == _LOOK_EVERY - 1:
            check_room(self.file.parent)
        try:
            self._writer.write(picture)
        except cv2.error as error:
            raise UserError(
                f'{self._path} cannot be written ({first_line(error)})'
            ) from None
        self._last = picture
        self._count += 1

    def finish(self) -> None:
        """Closes the file, and looks whether its last frame can be read."""
        if self._writer is None:
            return
        self._writer.release()
        capture = _open(str(self.file))
        try:
            # A container that only knows its length may be one frame out.
            capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, self._count - 2))
            whole = capture.isOpened() and capture.grab()
        finally:
            capture.release()
        check_room(self.file.parent)
        if not whole:
            raise UserError(f'{self._path} cannot be written whole; write elsewhere')


def check_window() -> None:
    """Checks that windows can be opened.

    Tried in another process: the toolkits end theirs where there is no display.

    Raises:
        UserError: When not.
    """
    import subprocess
    import sys

    tried = 'import cv2; cv2.namedWindow("mmnv3"); cv2.destroyAllWindows()'
    done = subprocess.run([sys.executable, '-c', tried], capture_output=True)
    if done.returncode:
        raise UserError(
            '--show opens a window, and there is no display, or this OpenCV is one '
            'without windows (headless); draw into files with --out FOLDER'
        )


def show(picture: np.ndarray, wait_ms: int) -> bool:
    """Shows a picture in the window.

    Args:
        picture: (H, W, 3) uint8, BGR.
        wait_ms: How long to wait for a key; 0 for ever.

    Returns:
        Whether to go on: not after Escape or ``q``.
    """
    cv2.imshow('mmnv3', picture)
    return cv2.waitKey(wait_ms) & 0xFF not in (27, ord('q'))
