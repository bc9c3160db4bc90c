"""Videos that OpenCV writes and reads, and cameras that are not there."""

import errno
import json
import os
import signal
import threading
import time
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3.deploy import predict_files as predict_files_module
from mmnv3.deploy import video as video_module
from mmnv3.deploy.predict_files import predict_files
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.video import Frame, Live, Video, check_window, is_video, write_video
from mmnv3.deploy.writers import json_writer
from mmnv3.errors import Remark, Terminated, UserError, interrupt_on_sigterm
from tests.deploy.tiny import write_tiny
from tests.tools import run_tool

WIDTH, HEIGHT, FPS = 64, 48, 12.5


def frame(number: int) -> np.ndarray:
    """A frame whose brightness says its number."""
    return np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def film(path: Path, count: int = 12, code: str = 'MJPG') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    fourcc = cv2.VideoWriter.fourcc(*code)
    writer = cv2.VideoWriter(str(path), fourcc, FPS, (WIDTH, HEIGHT))
    for number in range(count):
        writer.write(frame(number))
    writer.release()
    return path


def numbers(path: Path) -> list[int]:
    """The numbers of a video's frames, as OpenCV reads them."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        taken, picture = capture.read()
        if not taken:
            return found
        assert picture.shape == (HEIGHT, WIDTH, 3)
        found.append(round(picture.mean() / 20))


@pytest.fixture(scope='module')
def predict(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(write_tiny(tmp_path_factory.mktemp('tiny'), 'onnx'), threads=2)


def test_frames_have_numbers_and_times(tmp_path) -> None:
    video = Video(film(tmp_path / 'a.avi'))
    assert (video.fps, video.announced, video.live) == (FPS, 12, False)
    frames = list(video.frames())
    assert [f.number for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / FPS)
    assert [round(f.picture.mean() / 20) for f in frames] == list(range(12))


def test_what_a_video_is(tmp_path) -> None:
    clip = film(tmp_path / 'a.avi')
    text = tmp_path / 'a.txt'  # FFmpeg would show it as a terminal does.
    text.write_text('hello\n' * 1000)
    named = clip.with_name('clip')
    named.write_bytes(clip.read_bytes())
    picture = tmp_path / 'picture'
    picture.write_bytes(cv2.imencode('.png', frame(1))[1].tobytes())
    assert is_video(tmp_path / 'a.MP4')
    assert is_video(named, named=True) and not is_video(named)
    assert not is_video(text, named=True) and not is_video(picture, named=True)


@pytest.mark.parametrize('ending', sorted(video_module.CODECS))
def test_videos_of_all_endings_are_written(tmp_path, ending) -> None:
    path = tmp_path / f'ä{ending}'
    with write_video(path, FPS) as write:
        for number in range(12):
            write(frame(number), None)
        assert not path.exists()
    assert numbers(path) == list(range(12))
    assert os.listdir(tmp_path) == [path.name]
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == FPS


def test_late_frames_are_seen_when_they_came(tmp_path) -> None:
    with write_video(tmp_path / 'a.avi', FPS) as write:
        for number, time_s in enumerate((5, 5 + 1 / FPS, 5 + 4 / FPS)):
            write(frame(number), time_s)
    assert numbers(tmp_path / 'a.avi') == [0, 1, 1, 1, 2]


@pytest.mark.parametrize('error', [KeyboardInterrupt, Terminated])
def test_an_interrupted_video_is_whole(tmp_path, error) -> None:
    with pytest.raises(error), write_video(tmp_path / 'a.mp4', FPS) as write:
        for number in range(5):
            write(frame(number), None)
        raise error
    assert numbers(tmp_path / 'a.mp4') == list(range(5))


def test_of_a_full_disk_nothing_is_left(tmp_path, monkeypatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    monkeypatch.setattr(video_module, 'check_room', full)
    written = count()
    with (
        pytest.raises(OSError, match='No space left'),
        write_video(tmp_path / 'a.mp4', FPS) as write,
    ):
        while next(written) < 200:
            write(frame(0), None)
    assert 30 < next(written) < 100 and not os.listdir(tmp_path)


def test_a_file_that_could_not_grow_is_refused(tmp_path) -> None:
    """As on a disk that gets full, of which OpenCV says nothing."""
    resource = pytest.importorskip('resource', reason='there are no limits of files')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with (
            pytest.raises(UserError, match=r'a\.avi cannot be written whole'),
            write_video(tmp_path / 'a.avi', FPS) as write,
        ):
            for _ in range(40):
                write(noise(0), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not os.listdir(tmp_path)


def test_a_missing_codec_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(video_module.CODECS, '.mp4', 'XXXX')
    with (
        pytest.raises(UserError, match=r'a\.mp4: this OpenCV \(.*\) writes no XXXX'),
        write_video(tmp_path / 'a.mp4', FPS) as write,
    ):
        write(frame(0), None)
    assert not os.listdir(tmp_path)


def test_mixed_folders_are_predicted(predict, tmp_path) -> None:
    clip = film(tmp_path / 'in' / 'deep' / 'a.avi')
    cv2.imwrite(str(tmp_path / 'in' / 'b.png'), frame(3))
    (tmp_path / 'in' / 'c.txt').write_text('hello')
    (tmp_path / 'in' / 'd.mp4').write_text('hello')
    out, rows, told = tmp_path / 'out', tmp_path / 'rows.jsonl', []
    with pytest.warns(Remark, match=r'2 of 4 files skipped: .*c\.txt.*d\.mp4: not a r'):
        number = predict_files(
            predict, [tmp_path / 'in'], out, [json_writer(rows)], 0.1, told.append
        )
    assert number == 13
    assert sorted(p.name for p in out.rglob('*.*')) == ['a.avi', 'b.png']
    assert len(numbers(out / 'deep' / 'a.avi')) == 12
    assert told[-1] == f'{clip}: 12 frames → {out}/deep/a.avi'
    read = [json.loads(line) for line in rows.read_text().splitlines()]
    *of_frames, of_picture = sorted(read, key=lambda row: row.get('frame', 99))
    assert 'frame' not in of_picture and len(of_frames) == 12
    third = of_frames[3]
    assert third['file'] == str(clip) and third['frame'] == 3
    assert third['time'] == 0.24 and third['size'] == [WIDTH, HEIGHT]
    expected = predict([f.picture for f in Video(clip).frames()][3])
    kept = expected.scores > 0.1
    np.testing.assert_allclose(
        [found['score'] for found in third['found']], expected.scores[kept], atol=1e-4
    )
    assert kept.any()


def test_a_video_that_breaks_off_is_used_so_far(predict, tmp_path) -> None:
    clip = tmp_path / 'a.avi'
    with write_video(clip, FPS) as write:
        for seed in range(12):
            write(noise(seed), None)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    whole = len(numbers(clip))
    assert 0 < whole < 12
    with pytest.warns(Remark, match=rf'after frame {whole} of 12 that it announces'):
        number = predict_files(predict, [clip], tmp_path / 'out', tell=lambda _: None)
    assert number == whole == len(numbers(tmp_path / 'out' / 'a.avi'))


def test_what_cannot_be_opened_is_one_line(tmp_path) -> None:
    for source, message in (
        (Live(987, 'camera 987'), 'camera 987: cannot be opened: there is none'),
        (Live.of('http://u:pw@127.0.0.1:9/a'), r'^http://127\.0\.0\.1:9/a: cannot be'),
        (tmp_path / os.fsdecode(b'\xff.mp4'), 'no name that is no UTF-8'),
    ):
        with pytest.raises(UserError, match=message) as error:
            Video(source)
        assert '\n' not in str(error.value)


def test_an_absent_camera_ends_the_tool(predict, tmp_path, capfd) -> None:
    model = predict.files[0]
    assert run_tool('predict.py', model, '987', '--out', tmp_path / 'out') == 2
    assert capfd.readouterr().err.startswith('error: camera 987: cannot be opened')


def test_cameras_and_addresses_have_names(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / '7').touch()
    assert Live.of('7') is None and Live.of('a/b.mp4') is None
    assert str(Live.of('0').place) == 'camera_0.mp4'
    assert str(Live.of('rtsp://me:secret@host:554/s/1').place) == 'host_554_s_1.mp4'
    assert str(Live.of('https://host/a.b.avi').place) == 'host_a_b.avi'


class Camera:
    """Gives a frame every 5 ms, for ever, as `cv2.VideoCapture` does."""

    def __init__(self, count: int = 10**9) -> None:
        self.count, self.taken, self.released = count, 0, False

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        assert not self.released
        time.sleep(0.005)
        self.taken += 1
        ended = self.taken > self.count
        return not ended, None if ended else np.full((8, 8, 3), self.taken, np.uint16)

    def release(self) -> None:
        self.released = True


def test_a_camera_gives_its_newest_frame(monkeypatch) -> None:
    camera = Camera(40)
    monkeypatch.setattr(video_module, '_open', lambda address: camera)
    video = Video(Live(0, 'camera 0'))
    assert video.live and video.fps == 25
    frames = video.frames()
    seen = [next(frames)]
    while camera.taken < 20:
        time.sleep(0.001)
    seen += list(frames)
    shown = [int(frame.picture[0, 0, 0]) for frame in seen]
    assert shown[0] < 10 and shown[1] >= 19 and shown[-1] == 40
    assert shown == sorted(set(shown))
    assert [frame.number for frame in seen] == list(range(len(seen)))
    assert camera.released


def test_ctrl_c_is_the_end_of_a_camera(predict, tmp_path, monkeypatch) -> None:
    open_file = video_module._open
    monkeypatch.setattr(
        video_module, '_open', lambda name: Camera() if name == 0 else open_file(name)
    )
    rows = tmp_path / 'rows.json'
    calls = []

    def frames(self: Video):
        for number in range(100):
            if number == 7:
                raise KeyboardInterrupt
            calls.append(number)
            yield Frame(number, number / 25, frame(number))

    monkeypatch.setattr(Video, 'frames', frames)
    with pytest.raises(KeyboardInterrupt):
        predict_files(predict, ['0'], tmp_path / 'out', [json_writer(rows)])
    written = [row['frame'] for row in json.loads(rows.read_text())]
    assert len(written) >= 4 and written == calls[: len(written)]
    assert len(numbers(tmp_path / 'out' / 'camera_0.mp4')) == len(written)
    assert not [t for t in threading.enumerate() if t.name.startswith('mmnv3')]


def test_sigterm_closes_files(predict, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), frame(3))
    clip = film(tmp_path / 'a.avi')
    before = signal.getsignal(signal.SIGTERM)

    def kill(line: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Terminated), interrupt_on_sigterm():
        predict_files(predict, [clip, tmp_path / 'a.png'], tmp_path / 'out', tell=kill)
    assert len(numbers(tmp_path / 'out' / 'a.avi')) == 12
    assert signal.getsignal(signal.SIGTERM) is before


def test_windows_need_a_display(monkeypatch, tmp_path) -> None:
    for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match='--show opens a window, and there is no disp'):
        check_window()


def test_a_window_ends_it_all(predict, tmp_path, monkeypatch) -> None:
    shown = []

    def show(picture: np.ndarray, wait_ms: int) -> bool:
        shown.append((picture.shape, wait_ms))
        return len(shown) < 3

    monkeypatch.setattr(predict_files_module, 'check_window', lambda: None)
    monkeypatch.setattr(predict_files_module, 'show', show)
    clip = film(tmp_path / 'a.avi')
    assert predict_files(predict, [clip], window=True, tell=lambda _: None) == 3
    assert shown == [((HEIGHT, WIDTH, 3), 1)] * 3
