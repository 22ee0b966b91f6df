"""Videos and cameras: frames in, faces with emotions out, in bounded memory.

Three threads work at once: one reads, one looks, and the caller's own writes. Two bounded queues lie between them.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, ImageError
from mien.inference.boxes import shown_part
from mien.inference.predictor import Predictor
from mien.inference.queue import Channel
from mien.inference.results import Face
from mien.inference.tracking import TrackedFace, Tracker

_RATE = 25.0  # frames a second, where neither the file nor the camera says
_PATIENCE = 30_000  # milliseconds to wait for an address to answer
_SCHEMES = ("http", "https", "rtsp", "rtsps")
_WAITING = 64_000_000  # bytes of pixels that a queue may hold


@dataclass(frozen=True)
class Frame:
    """A frame that was read.

    Attributes:
        number: from 0, counting every frame of the video.
        time: seconds since the video's start.
        look: whether faces are to be found in it.
        pixels: BGR uint8 (H, W, 3).
    """

    number: int
    time: float
    look: bool
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class FrameResult:
    """What was found in a frame.

    Attributes:
        number: as the frame's.
        time: as the frame's, seconds.
        looked: whether the frame was looked at; else its faces are those of the last one that was.
        faces: the surest found first.
        pixels: the frame's, BGR uint8 (H, W, 3); None unless they were asked for.
    """

    number: int
    time: float
    looked: bool
    faces: tuple[TrackedFace, ...]
    pixels: NDArray[np.uint8] | None = None


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
        rate: frames a second; 25 where the source does not say.
        promised: how many frames the file says that it has; None where it does not.
        count: how many frames were read so far.
        seconds: from the start to the end of the last frame read.
        notes: what the reader of the results should know, such as that the file is cut.

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
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.promised = int(promised) if camera is None and 0 < promised < 1e12 else None
        self.live = self.file is None and self.promised is None
        self._shown = shown_part(self.file) if self.file else None
        if self.promised and self._shown:
            self.promised = round(self.promised * self._shown[0] / self._shown[1])
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
            every: frames 0, ``every``, twice ``every``, … are to be looked at.
            everything: give also the frames between; they are only counted otherwise.

        Raises:
            ValueError: where ``every`` is below 1.
        """
        if every < 1:
            raise ValueError(f"every is at least 1, not {every}")
        first = [self._first] if self._first.look or everything else []
        yield from chain(first, self._following(every, everything))
        if self._unreadable:
            self.notes.append(f"{self._unreadable:,} damaged frames have no row")
        # Where the container has no index, or shows a part, the promise is an estimate.
        whole = self._shown is not None and self.seconds > self._shown[0] - 3 / self.rate
        if self.promised and not whole and self.count < self.promised - max(2, self.promised // 50):
            self.notes.append(f"cut or damaged: {self.count:,} of {self.promised:,} frames could be read")

    def _following(self, every: int, everything: bool) -> Iterator[Frame]:
        while self._capture.grab():
            number, moment = self.count, self._stamp()
            self.count += 1
            look = number % every == 0
            if look or everything:
                good, pixels = self._capture.retrieve()
                if good:
                    yield Frame(number, moment, look, self._square(np.asarray(pixels, np.uint8)))
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
        told = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.count == 0:
            self._time = told if isfinite(told) and told > 0 else 0.0
        else:
            self._time = told if isfinite(told) and told > self._time else self._time + 1 / self.rate
        return self._time

    @property
    def seconds(self) -> float:
        """From the start to the end of the last frame read."""
        # The rate is the mean one, so the last frame of a whole file ends here however long it stands.
        if self.promised == self.count and self.count / self.rate > self._time:
            return self.count / self.rate
        return self._time + 1 / self.rate if self.count else 0.0

    def close(self) -> None:
        """Let the file or camera go."""
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
        raise DataError("addresses are not opened unless you ask for it", name, mend)
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
) -> Generator[FrameResult, None, None]:
    """Find the faces of a video's frames while it is read; memory does not grow with its length.

    Args:
        video: what to read; it is not closed.
        predictor: what finds and names faces; a file's frames go through it in its batches, live ones one by one.
        every: look only at every so many-th frame.
        tracker: what follows the faces; None leaves them without tracks, their probabilities as they are.
        pixels: give every frame, with its pixels, also those that were not looked at.
        stop: once it is set, no more frames are read; those that were are still given.

    Yields:
        what was found, in the order of the frames. It may be left before the end.

    Raises:
        MienError: whatever reading or looking raised, after the frames that came before it.
    """
    capacity = max(2, min(16, _WAITING // max(1, 3 * video.width * video.height)))
    batch = 1 if video.live else min(predictor.batch, capacity)
    frames, seen = Channel[Frame](capacity), Channel[FrameResult](capacity)
    looker = _FrameDetector(video.name, predictor, tracker, pixels)
    threads = [
        Thread(target=_read, args=(video.frames(every, pixels), frames, stop or Event()), name="reader", daemon=True),
        Thread(target=_look, args=(frames, seen, looker, batch), name="worker", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield from seen
    finally:
        seen.abandon()
        for thread in threads:
            thread.join()


def _read(source: Iterable[Frame], frames: Channel[Frame], stop: Event) -> None:
    try:
        for frame in source:
            if stop.is_set() or not frames.put(frame):
                break
    except Exception as error:  # the caller's thread raises it
        frames.end(error)
    else:
        frames.end()


def _look(frames: Channel[Frame], seen: Channel[FrameResult], looker: _FrameDetector, batch: int) -> None:
    coming = iter(frames)
    try:
        while chunk := list(islice(coming, batch)):
            if not all(seen.put(one) for one in looker(chunk)):
                break
    except Exception as error:  # the caller's thread raises it
        seen.end(error)
    else:
        seen.end()
    finally:
        frames.abandon()


class _FrameDetector:
    """What the worker remembers from chunk to chunk: the tracks, and the last faces."""

    def __init__(self, name: str, predictor: Predictor, tracker: Tracker | None, pixels: bool) -> None:
        self.name, self.predictor, self.tracker, self.pixels = name, predictor, tracker, pixels
        self._last: tuple[TrackedFace, ...] = ()

    def __call__(self, chunk: list[Frame]) -> Iterator[FrameResult]:
        upright = [cv2.cvtColor(frame.pixels, cv2.COLOR_BGR2RGB) for frame in chunk if frame.look]
        predictions = iter(self.predictor.predict(upright))
        for frame in chunk:
            if frame.look:
                one = next(predictions)
                if one.error is not None:
                    raise ImageError(f"frame {frame.number}: {one.error}", self.name)
                self._last = self._tracked(frame.time, one.faces)
            yield FrameResult(frame.number, frame.time, frame.look, self._last, frame.pixels if self.pixels else None)

    def _tracked(self, moment: float, faces: tuple[Face, ...]) -> tuple[TrackedFace, ...]:
        if self.tracker is None:
            return tuple(TrackedFace(None, face) for face in faces)
        return self.tracker.update(moment, faces)
