"""Predicts files, folders and videos; draws, writes and shows what is found."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmnv3.deploy.drawing import draw
from mmnv3.deploy.places import check_targets, collect, is_video_place, unused
from mmnv3.deploy.predictor import AHEAD, Predictor
from mmnv3.deploy.progress import ProgressLine, Skipped, progress_line
from mmnv3.deploy.results import Detections, Result
from mmnv3.deploy.video import Live, Video, check_window, show, write_video
from mmnv3.deploy.writers import Found, Writer, above, in_words
from mmnv3.errors import Remark, UserError
from mmnv3.pictures import write_picture
from mmnv3.tasks import DETECTION

# So many pictures get a line each.
_FEW = 20


@dataclass(frozen=True)
class _Shot:
    """A picture, or a frame of a video: where it comes from and goes to."""

    source: Path | Live
    place: Path
    stem: Path
    video: Video | None = None
    frame: int | None = None
    time_s: float = 0.0

    def found(self, picture: np.ndarray, result: Result, palette: Sequence) -> Found:
        source = self.source.name if isinstance(self.source, Live) else self.source
        name = self.place.with_suffix(Path(source).suffix)
        return Found(
            str(source), name, self.stem, picture, result, palette, self.frame,
            self.time_s,
        )  # fmt: skip


def predict_files(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out: str | Path | None = None,
    writers: Iterable[Writer] = (),
    threshold: float = 0.3,
    tell: Callable[[str], None] = print,
    window: bool = False,
) -> int:
    """Predicts all pictures and videos of files and folders.

    Args:
        predictor: The model.
        sources: Files, folders with their subfolders, numbers of cameras and
            addresses of videos. A camera's frames are dropped where they come faster
            than they are predicted; Ctrl-C is its end, and what is written is whole.
        out: Folder to draw into, under the names of pictures and videos and in their
            trees.
        writers: What else takes what is found, see :mod:`mmnv3.deploy.writers`.
        threshold: Detections that score more are drawn, written and told.
        tell: Takes a line about a picture, where there are at most 20.
        window: Whether to show in a window what is drawn, a picture until a key is
            pressed; Escape and ``q`` end it all.

    Returns:
        How many pictures and frames were predicted.

    Raises:
        UserError: When there is nothing to predict, when a camera or address cannot be
            opened, or when something cannot be written.
    """
    places = collect(sources)
    if out is not None:
        check_targets(places, Path(out), predictor.files)
    if window:
        check_window()
    few = len(places) <= _FEW
    live = any(isinstance(source, Live) for source in places)

    def use(
        shot: _Shot, picture: np.ndarray, result: Result
    ) -> tuple[Found, np.ndarray | None, float]:
        palette = predictor.info.palette
        found = shot.found(picture, above(result, threshold), palette)
        drawn = None
        if out is not None or window:
            keep_size = shot.video is not None
            drawn = draw(picture, found.result, palette, threshold, keep_size)
        if out is not None and drawn is not None and shot.video is None:
            write_picture(Path(out) / shot.place, drawn)
        return found, drawn, _best_score(result)

    count, best, skipped = 0, 0.0, Skipped()
    frames: Counter[tuple[str, str]] = Counter()
    stopped: KeyboardInterrupt | None = None
    with ExitStack() as stack:
        writes = [stack.enter_context(writer) for writer in writers]
        write_frame = stack.enter_context(_frame_writer())
        pictures = sum(not is_video_place(place) for place in places.values())
        line = stack.enter_context(
            progress_line(
                None if live else pictures,
                False if few and pictures == len(places) else None,
            )
        )
        shots = stack.enter_context(closing(_shots(places, line)))
        # What a camera shows shall not wait.
        outcomes = predictor.outcomes(shots, use, 1 if live else AHEAD)
        try:
            for shot, outcome in stack.enter_context(closing(outcomes)):
                line.advance()
                # A video is one file.
                if not shot.frame and skipped.take(outcome):
                    continue
                found, drawn, score = outcome
                count += 1
                best = max(best, score)
                target = None if out is None else Path(out) / shot.place
                arrow = '' if target is None else f' → {target}'
                if shot.video is not None:
                    frames[found.source, arrow] += 1
                    if target is not None:
                        write_frame(shot, target, drawn)
                elif few:
                    tell(f'{found.source}: {in_words(found.result)}{arrow}')
                for write in writes:
                    write(found)
                if window and not show(drawn, 0 if shot.video is None else 1):
                    break
        except KeyboardInterrupt as error:
            if not live:
                raise
            stopped = error
        skipped.tell()
    if stopped is not None:
        raise stopped
    for (source, arrow), number in frames.items():
        tell(f'{source}: {number} frames{arrow}')
    if count and predictor.info.task == DETECTION and best <= threshold:
        warnings.warn(
            f'nothing scores more than {threshold:g} in any picture, the best '
            f'{best:.2g}; take a lower threshold, or weights that are trained for such '
            'pictures',
            Remark,
            stacklevel=2,
        )
    return count


def _best_score(result: Result) -> float:
    """The highest score of a picture's detections; 0 where there are none."""
    if not isinstance(result, Detections):
        return 0.0
    return float(result.scores.max(initial=0))


def _shots(
    places: dict[Path | Live, Path], line: ProgressLine
) -> Generator[tuple[_Shot, Path | np.ndarray | UserError], None, None]:
    """Pictures' files, and the frames of videos; errors for videos without any."""
    stems: set[Path] = set()
    for source, place in places.items():
        stem = unused(place.with_suffix(''), stems)
        if not is_video_place(place):
            assert isinstance(source, Path)
            yield _Shot(source, place, stem), source
            continue
        try:
            video = Video(source)
            line.expect(video.announced)
            for frame in video.frames():
                shot = _Shot(source, place, stem, video, frame.number, frame.time_s)
                yield shot, frame.picture
        except UserError as error:
            if isinstance(source, Live):
                raise
            yield _Shot(source, place, stem), error


@contextmanager
def _frame_writer() -> Iterator[Callable[[_Shot, Path, np.ndarray], None]]:
    """Writes frames into videos, of which one is open at a time."""
    with ExitStack() as stack:
        video: Video | None = None
        put: Callable[[np.ndarray, float | None], None]

        def write(shot: _Shot, target: Path, drawn: np.ndarray) -> None:
            nonlocal video, put
            assert shot.video is not None
            if shot.video is not video:
                stack.close()
                video = shot.video
                put = stack.enter_context(write_video(target, video.fps))
            put(drawn, shot.time_s if video.live else None)

        yield write
