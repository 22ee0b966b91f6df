"""The annotated copy of a video: its frames with the faces drawn in, at the source's times, with its sound."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien._utils.files import growing
from mien.errors import DataError
from mien.inference.tracking import TrackedFace
from mien.inference.video import FrameResult, Video
from mien.inference.writers import draw_faces

_ROOM = 20_000_000  # bytes that must be free for the copy to go on: OpenCV is silent where the disk is full
_LONGEST = 8190  # pixels of a side that every encoder takes
_GAP = 600.0  # seconds: a longer gap is a damaged time, and would fill the disk
_CODECS = {
    ".mp4": {"avc1": "H.264", "vp09": "VP9", "mp4v": "MPEG-4, which browsers do not play"},
    ".webm": {"VP90": "VP9", "VP80": "VP8"},
}
"""OpenCV's names of codecs, the best first."""
_FFMPEG = {
    ".mp4": ("libx264", "H.264", "-preset veryfast -crf 20 -movflags +faststart", "aac"),
    ".webm": ("libvpx-vp9", "VP9", "-deadline realtime -cpu-used 8 -row-mt 1 -crf 30 -b:v 0", "libopus"),
}
SUFFIXES = tuple(_CODECS)
"""How the names of copies end."""


class _OpenCV:
    """The first of OpenCV's codecs that works here; it cannot write sound."""

    def __init__(self, part: Path, size: tuple[int, int], rate: float) -> None:
        self.sound = f"no sound: there is no ffmpeg with {_FFMPEG[part.suffix.lower()][0]} on the PATH"
        level = cv2.utils.logging.setLogLevel(0)  # a codec that is absent is no error here
        try:
            for fourcc, self.codec in _CODECS[part.suffix.lower()].items():
                self._writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*fourcc), rate, size)
                if self._writer.isOpened():
                    return
        finally:
            cv2.utils.logging.setLogLevel(level)
        raise DataError(f"OpenCV cannot write a video of {size[0]}x{size[1]} at {rate:g} frames/s here")

    def write(self, pixels: NDArray[np.uint8]) -> None:
        self._writer.write(pixels)

    def close(self) -> None:
        self._writer.release()


class _FFmpeg:
    """A process that encodes the frames that it is sent, and the source's sound."""

    def __init__(self, program: str, part: Path, size: tuple[int, int], rate: float, source: Path | None) -> None:
        encoder, self.codec, options, audio = _FFMPEG[part.suffix.lower()]
        has_sound = source is not None and _has_sound(program, source)
        self.sound = "with sound" if has_sound else ""
        frames = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{size[0]}x{size[1]}", "-r", f"{rate:.6f}"]
        command = [program, "-v", "error", "-nostdin", "-y", *frames, "-i", "pipe:0"]
        if has_sound:  # silence follows where the sound is shorter
            command += [*_input(source), "-map", "0:v", "-map", "1:a:0", "-c:a", audio, "-af", "apad", "-shortest"]
        command += ["-c:v", encoder, *options.split(), "-pix_fmt", "yuv420p", f"file:{part.absolute()}"]
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        # In a session of its own Ctrl-C does not end it before the last frame.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=self._messages, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._pipe = cast("IO[bytes]", self._process.stdin)

    def write(self, pixels: NDArray[np.uint8]) -> None:
        """Raises BrokenPipeError where it has ended; :meth:`close` then reports why."""
        self._pipe.write(np.ascontiguousarray(pixels).data)

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._pipe.close()
        code = self._process.wait()
        with self._messages:
            self._messages.seek(0)
            why = self._messages.readline().decode(errors="replace").strip() or f"exit code {code}"
        if code:
            raise DataError(f"not all frames could be written (ffmpeg: {why})", mend="Is the disk full?")


def _input(source: Path | None) -> list[str]:
    return ["-protocol_whitelist", "file", "-i", f"file:{source}"]


def _has_sound(program: str, source: Path) -> bool:
    ran = subprocess.run([program, "-hide_banner", "-nostdin", *_input(source)], capture_output=True, check=False)
    return re.search(rb"Stream #0:.*: Audio: ", ran.stderr) is not None


def _writer(part: Path, size: tuple[int, int], rate: float, source: Path | None) -> _OpenCV | _FFmpeg:
    """ffmpeg where it is on the PATH and has the encoder: it is faster and writes sound; else OpenCV."""
    program = shutil.which("ffmpeg")
    if program is not None:
        ran = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, check=False)
        if f" {_FFMPEG[part.suffix.lower()][0]} ".encode() in ran.stdout:
            return _FFmpeg(program, part, size, rate, source)
    return _OpenCV(part, size, rate)


class Copy:
    """A copy that grows: each frame stands until the next one's time.

    Attributes:
        frames: how many frames it was given.
        written: how many it has: more or fewer where the source's rate varies.
    """

    def __init__(self, writer: _OpenCV | _FFmpeg, path: Path, size: tuple[int, int], rate: float) -> None:
        self._writer, self._path, self._size, self._rate = writer, path, size, rate
        self._last: NDArray[np.uint8] | None = None
        self.frames = self.written = 0
        self._cut = self._time = 0.0

    def __str__(self) -> str:
        """How it is encoded, such as ``"H.264, with sound"``."""
        return ", ".join(filter(None, (self._writer.codec, self._writer.sound)))

    def __call__(self, result: FrameResult) -> None:
        """Add a frame.

        Raises:
            DataError: where the disk is full; the frames before are kept.
        """
        if result.pixels is None:
            raise ValueError("an annotated copy needs the frames' pixels")
        if self.frames % 100 == 0 and shutil.disk_usage(self._path.parent).free < _ROOM:
            raise DataError(f"the disk is full after {self.frames:,} frames", self._path, "These are saved.")
        self._cut += max(0.0, result.time - self._time - _GAP)
        self._hold(result.time)
        self._last, self._time = _fitted(_drawn(result.pixels, result.faces), self._size), result.time
        self.frames += 1

    def _hold(self, until: float) -> None:
        """Show the last frame until a time, in seconds; not at all where a later frame has its place."""
        while self._last is not None and self.written < round((until - self._cut) * self._rate):
            self._writer.write(self._last)
            self.written += 1

    def close(self, seconds: float) -> None:
        """Show the last frame, up to a time in seconds or at least once, and end the file."""
        try:
            self._hold(max(seconds, (self.written + 1) / self._rate + self._cut))
        finally:
            self._writer.close()


@contextmanager
def annotated_video(path: Path, video: Video) -> Iterator[Copy]:
    """A copy of a video with every frame and its faces drawn into it; it plays however it ends.

    Its rate is even: at times frames stand twice, or are left out, so that each has its time in the source (a gap
    above ten minutes is cut to that). Encoders need even sides: an odd one is made longer by a pixel, a copy of the
    last. MP4 is H.264, else VP9, else MPEG-4; WebM is VP9, else VP8; a file's sound goes along where ffmpeg is on the
    PATH.

    Raises:
        DataError: where it cannot be written.
    """
    size = (video.width + video.width % 2, video.height + video.height % 2)
    if max(size) > _LONGEST:
        raise DataError(f"frames of {video.width}x{video.height} are too large", path, f"At most {_LONGEST} a side.")
    with growing(path) as part:
        rate = _rate(video)
        with _removed_on_error(part, path):
            writer = _writer(part, size, rate, video.file)
        copy = Copy(writer, path, size, rate)
        try:
            yield copy
        finally:
            with _removed_on_error(part, path):
                # The rate is the mean one, so that of a whole file gives the end of its last frame.
                copy.close(copy.frames / video.rate if copy.frames == video.expected else 0.0)
                _check(part, copy.written)


def _check(part: Path, count: int) -> None:
    """Check that a copy has its frames, since OpenCV reports no failed write; one without frames is removed."""
    if count == 0:
        part.unlink(missing_ok=True)
        return
    capture = cv2.VideoCapture(str(part))
    found = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    # WebM has no count, so that it is worked out from the duration.
    if found < count - (part.suffix.lower() == ".webm"):
        raise DataError(f"only {found:,} of {count:,} frames could be written", mend="Is the disk full?")


@contextmanager
def _removed_on_error(part: Path, path: Path) -> Iterator[None]:
    """Remove a file that its writer could not write, and report its final path."""
    try:
        yield
    except DataError as error:
        part.unlink(missing_ok=True)
        raise DataError(error.what, path, error.mend) from error


def _rate(video: Video) -> float:
    """The copy's frames a second: the source's; more where its frames are closer in places, so that each has a place.

    Only the first thousand frames are read.
    """
    if video.file is None:
        return video.rate
    capture = cv2.VideoCapture(str(video.file), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_FORMAT, -1)  # frames are not decoded
    moments = [capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 for _ in islice(iter(capture.grab, False), 1000)]
    capture.release()
    gaps = np.diff(np.unique(moments))
    # Times are rounded to milliseconds in some files; a few of them may be damaged.
    closest = 1 / float(np.percentile(gaps, 10)) if len(gaps) else 0.0
    return min(closest, 120.0) if closest > 1.1 * video.rate else video.rate


def _drawn(pixels: NDArray[np.uint8], faces: Sequence[TrackedFace]) -> NDArray[np.uint8]:
    """A copy of a frame, BGR, with its faces' frames and labels."""
    if not faces:
        return pixels
    image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    draw_faces(image, [(one.face, f"{one.track}: " if one.track else "") for one in faces])
    return cast("NDArray[np.uint8]", cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR))


def _fitted(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame of the copy's size: OpenCV silently drops others, and a video may change its size on the way."""
    down, across = size[1] - pixels.shape[0], size[0] - pixels.shape[1]
    if (down, across) == (0, 0):
        return pixels
    if down in (0, 1) and across in (0, 1):
        return cast("NDArray[np.uint8]", cv2.copyMakeBorder(pixels, 0, down, 0, across, cv2.BORDER_REPLICATE))
    return cast("NDArray[np.uint8]", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
