"""Which face is which from frame to frame, and probabilities that do not flicker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

from mien.inference.results import Face

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class TrackedFace:
    """A face of a frame and the track that it belongs to.

    Attributes:
        track: the track's number, from 1 in the order of appearance; None without tracking.
        face: its probabilities are the track's smoothed ones.
    """

    track: int | None
    face: Face


@dataclass
class _Track:
    number: int
    box: Box
    probabilities: dict[str, float]
    time: float
    missed: int = 0


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (left, top, width, height), 0 to 1."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(0, wide) * max(0, high)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


class Tracker:
    """Tracks faces by the overlap of their boxes: the pair that overlaps most is matched first, and so on.

    The answer does not depend on the order of the faces within a frame. It keeps only tracks that are active.

    Args:
        smoothing: the time constant of the probabilities' exponential mean, seconds; 0 leaves them as they are. After
            so many seconds 63 % of a change has come through, whatever the frame rate.
        least: the smallest intersection over union of a face and the track that it continues, above 0.
        patience: a track ends after it was missed for more than so many seconds and in more than two frames.

    Raises:
        ValueError: where a setting is out of its range.
    """

    def __init__(self, smoothing: float = 0.5, least: float = 0.3, patience: float = 1.0) -> None:
        if not (smoothing >= 0 and patience >= 0 and 0 < least <= 1):
            raise ValueError("smoothing and patience are at least 0, least is above 0 and at most 1")
        self.smoothing, self.least, self.patience = smoothing, least, patience
        self._active: list[_Track] = []
        self._count = 0

    def update(self, time: float, faces: Sequence[Face]) -> tuple[TrackedFace, ...]:
        """Take the faces of the next frame.

        Args:
            time: the frame's, in seconds; not before that of the last call.
            faces: what was found in it.

        Returns:
            the same faces in the same order, with their tracks and smoothed probabilities.
        """
        for track in self._active:
            track.missed += 1
        self._active = [one for one in self._active if one.missed <= 2 or time - one.time <= self.patience]
        owners = self._matched(faces)
        for place in sorted(set(range(len(faces))) - set(owners), key=lambda place: faces[place].box):
            self._count += 1
            owners[place] = _Track(self._count, faces[place].box, faces[place].probabilities, time)
            self._active.append(owners[place])
        return tuple(self._continued(owners[place], time, face) for place, face in enumerate(faces))

    def _matched(self, faces: Sequence[Face]) -> dict[int, _Track]:
        """The active track of each face that continues one, by the face's place."""
        pairs = [
            (-share, track.number, face.box, place, track)
            for track in self._active
            for place, face in enumerate(faces)
            if (share := overlap(track.box, face.box)) >= self.least
        ]
        owners: dict[int, _Track] = {}
        taken: set[int] = set()
        for _, number, _, place, track in sorted(pairs, key=lambda pair: pair[:4]):
            if place not in owners and number not in taken:
                owners[place] = track
                taken.add(number)
        return owners

    def _continued(self, track: _Track, time: float, face: Face) -> TrackedFace:
        share = exp(-(time - track.time) / self.smoothing) if self.smoothing else 0.0
        mean = {name: p + share * (track.probabilities[name] - p) for name, p in face.probabilities.items()}
        track.box, track.probabilities, track.time, track.missed = face.box, mean, time, 0
        return TrackedFace(track.number, replace(face, probabilities=mean))
