"""The emotions of a video's tracks over time, in bounded memory, and their plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.emotions import class_color
from mien.errors import DataError, require
from mien.inference.video import FrameResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 256
"""How many spans of time a track is remembered in; when they are full, two become one."""
TRACKS = 128
"""How many tracks are remembered."""
SHOWN = 12
"""How many tracks the plot shows."""
_CARRIED = 2  # empty bins between two filled ones are drawn as the first: a camera may be slower than it reports
_QUIET = "#6b6f76"


@dataclass
class Track:
    """What is remembered of one track.

    Attributes:
        number: the track's; 0 for all faces together, where they were not tracked.
        first: when it first appeared, seconds.
        last: when it was last detected, seconds.
        detections: in how many frames it was detected.
        sums: its probabilities, summed by span of time, float64 (256, classes).
        counts: how many probabilities each sum holds, int64 (256,).
    """

    number: int
    first: float
    last: float
    detections: int
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]

    def mean(self) -> NDArray[np.float64]:
        """The mean probabilities, float64 (classes,)."""
        return np.asarray(self.sums.sum(0) / self.counts.sum())

    def halve(self) -> None:
        """Make one span of every two."""
        self.sums = _paired(self.sums)
        self.counts = _paired(self.counts)


class Timeline:
    """Gathers tracked faces frame by frame; it remembers at most 128 tracks, 256 spans of time each.

    When there are more tracks, those with the fewest detections that are absent now are dropped.

    Args:
        labels: the classes.
        width: seconds of a span at first; it doubles whenever the video has grown too long for 256 of them.

    Raises:
        ValueError: where ``width`` is not above 0.
    """

    def __init__(self, labels: Sequence[str], width: float) -> None:
        if not width > 0:
            raise ValueError(f"a span of time is longer than {width} seconds")
        self.labels, self.width = tuple(labels), width
        self.count, self.end = 0, 0.0
        self._tracks: dict[int, Track] = {}

    def add(self, result: FrameResult) -> None:
        """Add the faces of a frame; frames are added in order, and those that were not processed are skipped."""
        if not result.processed:
            return
        self.end = result.time
        while result.time >= BINS * self.width:
            self.width *= 2
            for track in self._tracks.values():
                track.halve()
        for one in result.faces:
            number = one.track or 0
            self.count = max(self.count, number)
            track = self._tracks.get(number) or self._new_track(number, result.time)
            place = int(result.time / self.width)
            track.sums[place] += [one.face.probabilities[name] for name in self.labels]
            track.counts[place] += 1
            track.last = result.time
            track.detections += 1
        self._drop_old(result.time)

    def _new_track(self, number: int, moment: float) -> Track:
        sums, counts = np.zeros((BINS, len(self.labels))), np.zeros(BINS, np.int64)
        self._tracks[number] = Track(number, moment, moment, 0, sums, counts)
        return self._tracks[number]

    def _drop_old(self, now: float) -> None:
        gone = sorted(
            (one for one in self._tracks.values() if one.last < now), key=lambda one: (one.detections, one.number)
        )
        # A crowd: there is no room even for all of the present ones.
        gone += sorted((one for one in self._tracks.values() if one.last == now), key=lambda one: -one.number)
        for track in gone[: max(0, len(self._tracks) - TRACKS)]:
            del self._tracks[track.number]

    def longest(self, most: int = TRACKS) -> list[Track]:
        """The tracks with the most detections, at most ``most``, in the order of their numbers."""
        kept = sorted(self._tracks.values(), key=lambda one: (-one.detections, one.number))[:most]
        return sorted(kept, key=lambda one: one.number)


def _paired(values: NDArray[Any]) -> NDArray[Any]:
    half = values.reshape(BINS // 2, 2, *values.shape[1:]).sum(1)
    return np.concatenate([half, np.zeros_like(half)])


def save_timeline(timeline: Timeline, path: Path, title: str) -> None:
    """Write the plot of a timeline as PNG (150 dpi) or SVG, by the path's suffix; it appears whole or not at all.

    Raises:
        DataError: where the suffix is another.
        MissingExtraError: where matplotlib is not installed.
    """
    check_plot(path)
    with atomic(path) as temporary:
        draw_timeline(timeline, title).savefig(temporary, dpi=150, facecolor="white")


def check_plot(path: Path) -> None:
    """Refuse a plot that could not be drawn, before the work begins.

    Raises:
        DataError: where the suffix is neither ``.png`` nor ``.svg``.
        MissingExtraError: where matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise DataError("a timeline is drawn as PNG or SVG", path, "Name a file that ends in .png or .svg.")
    require("matplotlib", "train")


def draw_timeline(timeline: Timeline, title: str) -> Figure:
    """A strip for each of the twelve tracks with the most detections: their smoothed probabilities, stacked, over time.

    White is where a track was absent.

    Raises:
        MissingExtraError: where matplotlib is not installed.
    """
    require("matplotlib", "train")
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import FixedLocator

    tracks = timeline.longest(SHOWN)
    figure = Figure(figsize=(10, 1.5 + 0.75 * max(1, len(tracks))), layout="constrained")
    grid = figure.subplots(max(1, len(tracks)), 1, sharex=True, squeeze=False)[:, 0]
    colors = _colors(timeline.labels)
    for axes, track in zip(grid, tracks, strict=False):
        _strip(axes, track, timeline, colors)
    if not tracks:
        _bare(grid[0])
        grid[0].text(0.5, 0.5, "no face was found", transform=grid[0].transAxes, ha="center", va="center")
    end = max(timeline.end, timeline.width)
    grid[-1].set_xlim(0, end)
    grid[-1].xaxis.set_major_locator(FixedLocator(list(np.arange(0, end * 1.0001, _step(end)))))
    grid[-1].xaxis.set_major_formatter(lambda value, _: clock(value, tenths=end < 10))
    grid[-1].tick_params(axis="x", bottom=True, labelbottom=True, colors=_QUIET)
    more = f"  (the {len(tracks)} longest of {timeline.count:,} tracks)" if timeline.count > len(tracks) else ""
    figure.suptitle(title + more, x=0.01, ha="left", fontsize=12, weight="bold")
    patches = [Patch(color=color, label=name) for name, color in zip(timeline.labels, colors, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(7, len(patches)), frameon=False, fontsize=9)
    return figure


def _strip(axes: Axes, track: Track, timeline: Timeline, colors: Sequence[str]) -> None:
    _bare(axes)
    shares, known = _shares(track)
    edges = np.arange(BINS + 1) * timeline.width
    tops = np.cumsum(shares, axis=1)
    lower = np.zeros(BINS + 1)
    for place, (name, color) in enumerate(zip(timeline.labels, colors, strict=True)):
        # With steps a span reaches to the next edge, so the last one needs its value twice.
        upper = np.append(tops[:, place], 0.0)
        for start, stop in _runs(known):
            low, high = (np.append(side[start:stop], side[stop - 1]) for side in (lower, upper))
            axes.fill_between(edges[start : stop + 1], low, high, step="post", color=color, linewidth=0, label=name)
        lower = upper
    axes.set_ylim(0, 1)
    name = f"track {track.number}" if track.number else "all faces"
    axes.set_ylabel(
        f"{name}\n{clock(track.first)}–{clock(track.last)}", rotation=0, ha="right", va="center", fontsize=9
    )


def _shares(track: Track) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A track's mean probabilities by span, float64 (256, classes), and in which spans it was present, bool (256,)."""
    known = track.counts > 0
    shares = track.sums / np.maximum(track.counts, 1)[:, None]
    filled = np.flatnonzero(known)
    for before, after in pairwise(filled):
        if 1 < after - before <= _CARRIED + 1:
            shares[before + 1 : after] = shares[before]
            known[before + 1 : after] = True
    return shares, known


def _runs(known: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where unbroken runs begin and end (the end is not part of it)."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in change.reshape(-1, 2)]


def _bare(axes: Axes) -> None:
    axes.set_yticks([])
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)


def _colors(labels: Sequence[str]) -> list[str]:
    """The seven emotions have their own colours everywhere; a class of the user's own takes one in turn."""
    return [class_color(name, place) for place, name in enumerate(labels)]


def _step(seconds: float) -> float:
    """The distance of ticks: the first round time of which at most ten fit."""
    rounded = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
    return next((step for step in rounded if seconds <= 10 * step), 3600.0 * -(-seconds // 36_000))


def clock(seconds: float, tenths: bool = False) -> str:
    """A time such as ``0:07``, ``12:30``, ``1:02:03``, or with tenths ``0:07.5``."""
    whole, tenth = divmod(int(10 * max(0.0, seconds) + 1e-6), 10)
    hours, minutes = whole // 3600, whole // 60 % 60
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{whole % 60:02}" + (f".{tenth}" if tenths else "")
