"""Videos and cameras: frames in, faces with emotions out, in bounded memory.

Four threads work at once: one reads, one detects faces, one classifies them, and the caller's own writes; bounded
queues connect them.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from threading import Event
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from mien._utils.prefetch import prefetch
from mien.errors import DataError, ImageError
from mien.inference.boxes import shown_part
from mien.inference.following import INTERVAL, FollowingSearch
from mien.inference.predictor import DetectedFaces, Predictor
from mien.inference.results import Face
from mien.inference.tracking import TrackedFace, Tracker

_RATE = 25.0  # frames a second, where neither the file nor the camera reports it
_PATIENCE = 30_000  # milliseconds to wait for an address to answer
_SCHEMES = ("http", "https", "rtsp", "rtsps")
_WAITING = 64_000_000  # bytes of pixels that a queue may hold


@dataclass(frozen=True)
class Frame:
    """A frame that was read.

    Attributes:
        number: from 0, counting every frame of the video.
        time: seconds since the video's start.
        selected: whether faces are to be detected in it.
        pixels: BGR uint8 (H, W, 3).
    """

    number: int
    time: float
    selected: bool
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class FrameResult:
    """The faces of a frame.

    Attributes:
        number: as the frame's.
        time: as the frame's, seconds.
        processed: whether it was searched for faces, in whole or near those known; else its faces are those of the last
            one that was processed.
        faces: the surest found first.
        pixels: the frame's, BGR uint8 (H, W, 3); None unless ``pixels`` was set.
    """

    number: int
    time: float
    processed: bool
    faces: tuple[TrackedFace, ...]
    pixels: NDArray[np.uint8] | None = None


_Found = tuple[FrameResult, DetectedFaces | None]  # without faces; None where the frame is not processed


class Video:
    """An opened video file, camera or stream, upright and with square pixels, to be read once.

    Args:
        source: a file, a camera's number (a string of digits that names no file is one), or an http, https, rtsp or
            rtsps address.
        allow_urls: whether an address may be opened.

    Attributes:
        name: the file's path, the address without its password, or ``"camera 0"``.
        file: the file's whole path; None for a camera or an address.
        live: whether frames come as they happen, and their times are the clock's: a camera, or a stream without an end.
        width: of a frame, in pixels; where a pixel is not square, frames are made wider or higher until it is.
        height: of a frame, in pixels.
        rate: frames a second; 25 where the source does not report it.
        expected: how many frames the file reports; None where it does not.
        count: how many frames were read so far.
        seconds: from the start to the end of the last frame read.
        notes: warnings, such as that the file is cut.

    Raises:
        DataError: where it is no video, has no frame, or the camera cannot be opened.
    """

    def __init__(self, source: str | Path | int, allow_urls: bool = False) -> None:
        camera = _camera(source)
        self.name = re.sub("//[^/]*@", "//", str(source)) if camera is None else f"camera {camera}"
        self.file: Path | None = None
        if camera is not None:
            self._capture = cv2.VideoCapture(camera)
        elif "://" in str(source):
            self._capture = _stream(str(source), self.name, allow_urls)
        else:
            self.file = _file(source)
            self._capture = cv2.VideoCapture(str(self.file))
        self.notes: list[str] = []
        self.count, self._unreadable, self._time, self._started = 0, 0, 0.0, 0.0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if isfinite(rate) and 0 < rate <= 1000 else _RATE
        expected = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.expected = int(expected) if camera is None and 0 < expected < 1e12 else None
        self.live = self.file is None and self.expected is None
        self._shown = shown_part(self.file) if self.file else None
        if self.expected and self._shown:
            self.expected = round(self.expected * self._shown[0] / self._shown[1])
        self._stretch = self._aspect()
        self._first = self._opened()
        self.height, self.width = self._first.pixels.shape[:2]

    def _opened(self) -> Frame:
        """The first frame, which shows that there is a video."""
        opened, codec = self._capture.isOpened(), _codec(self._capture)
        first = next(self._following(1, everything=True), None) if opened else None
        if first is not None:
            return first
        self.close()
        if self.file is None:
            mend = "Does the address answer?" if "://" in self.name else "Is it plugged in, and free?"
            raise DataError("it cannot be opened", self.name, mend)
        if self.file.stat().st_size == 0:
            raise DataError("the file is empty", self.name)
        mend = f"Where it plays elsewhere, convert it: ffmpeg -i {shlex.quote(self.name)} -c:v libx264 OUT.mp4"
        if opened:
            raise DataError(f"OpenCV can decode no frame of it (its codec: {codec})", self.name, mend)
        raise DataError("it is not a readable video, or its end is missing", self.name, mend)

    def _aspect(self) -> tuple[float, float]:
        """How much wider and higher upright frames become until their pixels are square."""
        across, down = self._capture.get(cv2.CAP_PROP_SAR_NUM), self._capture.get(cv2.CAP_PROP_SAR_DEN)
        if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90:
            across, down = down, across
        ratio = across / down if across > 0 and down > 0 else 1.0
        return (max(1.0, ratio), max(1.0, 1 / ratio)) if 0.1 <= ratio <= 10 else (1.0, 1.0)

    def frames(self, every: int = 1, everything: bool = False) -> Iterator[Frame]:
        """The frames in order.

        Args:
            every: frames 0, ``every``, twice ``every``, … are selected.
            everything: give also the frames between; they are only counted otherwise.

        Raises:
            ValueError: where ``every`` is below 1.
        """
        if every < 1:
            raise ValueError(f"every is at least 1, not {every}")
        first = [self._first] if self._first.selected or everything else []
        yield from chain(first, self._following(every, everything))
        if self._unreadable:
            self.notes.append(f"{self._unreadable:,} damaged frames have no row")
        # Where the container has no index, or shows a part, that number is an estimate.
        whole = self._shown is not None and self.seconds > self._shown[0] - 3 / self.rate
        if self.expected and not whole and self.count < self.expected - max(2, self.expected // 50):
            self.notes.append(f"cut or damaged: {self.count:,} of {self.expected:,} frames could be read")

    def _following(self, every: int, everything: bool) -> Iterator[Frame]:
        while self._capture.grab():
            number, moment = self.count, self._stamp()
            self.count += 1
            selected = number % every == 0
            if selected or everything:
                good, pixels = self._capture.retrieve()
                if good:
                    yield Frame(number, moment, selected, self._square(np.asarray(pixels, np.uint8)))
                else:
                    self._unreadable += 1

    def _square(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame in colour, its pixels square."""
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
        if self._stretch == (1.0, 1.0):
            return pixels
        return np.asarray(cv2.resize(pixels, None, fx=self._stretch[0], fy=self._stretch[1]), np.uint8)

    def _stamp(self) -> float:
        """The grabbed frame's time: the clock's where it is live, else the container's if it goes on, else the rate's.

        Two frames never have the same time.
        """
        if self.live:
            now = time.monotonic()
            self._started = self._started or now
            self._time = now - self._started
            return self._time
        reported = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.count == 0:
            self._time = reported if isfinite(reported) and reported > 0 else 0.0
        else:
            self._time = reported if isfinite(reported) and reported > self._time else self._time + 1 / self.rate
        return self._time

    @property
    def seconds(self) -> float:
        """From the start to the end of the last frame read."""
        # The rate is the mean one, so the last frame of a whole file ends here however long it stands.
        if self.expected == self.count and self.count / self.rate > self._time:
            return self.count / self.rate
        return self._time + 1 / self.rate if self.count else 0.0

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _camera(source: str | Path | int) -> int | None:
    if isinstance(source, int):
        return source
    name = str(source)
    return int(name) if name.isascii() and name.isdigit() and len(name) < 6 and not Path(name).exists() else None


def _stream(address: str, name: str, allowed: bool) -> cv2.VideoCapture:
    if not allowed:
        mend = "Add --allow-urls (in Python allow_urls=True), or download it first."
        raise DataError("addresses are not opened unless allowed", name, mend)
    if address.split("://")[0].lower() not in _SCHEMES:
        raise DataError(f"only {', '.join(_SCHEMES)} addresses are opened", name)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE]
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)


def _codec(capture: cv2.VideoCapture) -> str:
    name = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("ascii", "replace")
    return {"AV01": "AV1"}.get(name.upper(), name.strip("\0 "))


def _file(source: str | Path | int) -> Path:
    """A file's whole path: what else OpenCV would open (patterns, pipes) is refused."""
    path = Path(str(source))
    if path.is_dir():
        raise DataError("this is a folder, not a video", path)
    if not path.exists():
        raise DataError("no such file", path)
    if not path.is_file():
        raise DataError("this is no ordinary file", path, "Name a video file, or a camera by its number.")
    return path.resolve()


def watch(
    video: Video,
    predictor: Predictor,
    every: int = 1,
    tracker: Tracker | None = None,
    pixels: bool = False,
    stop: Event | None = None,
    interval: float = INTERVAL,
) -> Generator[FrameResult, None, None]:
    """Detect the faces of a video's frames while it is read; memory does not grow with its length.

    Args:
        video: what to read; it is not closed.
        predictor: detects faces and predicts their expressions, of a file in its batches, of a live source one by one.
        every: process every ``every``-th frame only.
        tracker: tracks the faces; None leaves them without tracks, and their probabilities unsmoothed.
        pixels: give every frame, with its pixels, also those that were not processed.
        stop: once it is set, no more frames are read; those that were are still given.
        interval: seconds within which a new face is found: so often the whole frame is searched, also where a known
            face is lost; the other processed frames are searched near the faces known. 0 searches all in whole.

    Yields:
        a result per frame, in order. The caller may stop before the end.

    Raises:
        MienError: whatever reading or detection raised, after the frames that came before it.
    """
    capacity = max(2, min(16, _WAITING // max(1, 3 * video.width * video.height)))
    batch = 1 if video.live else min(predictor.batch, capacity)
    frames = prefetch(_until(video.frames(every, pixels), stop or Event()), capacity)
    found = prefetch(_detected(frames, predictor, FollowingSearch(predictor.detector, interval), pixels), batch)
    yield from prefetch(_results(found, _FrameClassifier(video.name, predictor, tracker), batch), capacity)


def _until(frames: Iterable[Frame], stop: Event) -> Generator[Frame, None, None]:
    for frame in frames:
        if stop.is_set():
            break
        yield frame


def _detected(
    frames: Generator[Frame, None, None], predictor: Predictor, search: FollowingSearch, pixels: bool
) -> Generator[_Found, None, None]:
    with closing(frames):
        for frame in frames:
            result = FrameResult(frame.number, frame.time, frame.selected, (), frame.pixels if pixels else None)
            if not frame.selected:
                yield result, None
                continue
            upright = np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2RGB), np.uint8)
            yield result, predictor.detect(upright, search=partial(search, frame.time))


def _results(
    found: Generator[_Found, None, None], classifier: _FrameClassifier, batch: int
) -> Generator[FrameResult, None, None]:
    with closing(found):
        while chunk := list(islice(found, batch)):
            yield from classifier(chunk)


class _FrameClassifier:
    """Classifies the faces of chunks of frames; it keeps the tracks and the last faces between chunks."""

    def __init__(self, name: str, predictor: Predictor, tracker: Tracker | None) -> None:
        self.name, self.predictor, self.tracker = name, predictor, tracker
        self._last: tuple[TrackedFace, ...] = ()

    def __call__(self, chunk: list[_Found]) -> Iterator[FrameResult]:
        predictions = iter(self.predictor.classify([faces for _, faces in chunk if faces is not None]))
        for result, faces in chunk:
            if faces is not None:
                one = next(predictions)
                if one.error is not None:
                    raise ImageError(f"frame {result.number}: {one.error}", self.name)
                self._last = self._tracked(result.time, one.faces)
            yield replace(result, faces=self._last)

    def _tracked(self, moment: float, faces: tuple[Face, ...]) -> tuple[TrackedFace, ...]:
        if self.tracker is None:
            return tuple(TrackedFace(None, face) for face in faces)
        return self.tracker.update(moment, faces)
