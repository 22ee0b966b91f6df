"""What is wrong with a data set: copies, leaks, conflicts, blanks, suspect labels, wrong sizes, counts.

Everything is counted over all rows. Identical blank images are counted like any others, so a set whose lost images
were all replaced by the same gray has one group of them; ``without_constant`` gives the same counts with images of a
single gray left out. (In the copy of FER2013 that mien is developed on, these are 12 of the 173 rows of which no
lossless copy was to be had; none of the other 161 has a copy, so ``without_constant`` is also what holds of the
exact rows.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.builder import TRAINING
from mien.data.faces import UNLABELLED, USAGES, Faces, Usage
from mien.data.quality.duplicates import connected, first_copies, sizes
from mien.data.quality.label_noise import NOT_A_FACE, Suspect, by_votes, not_faces
from mien.data.quality.near_duplicates import SIMILAR, Pairs, near_pairs
from mien.emotions import LABELS

BLANK = 5.0
"""An image whose gray levels, 0 to 255, have a lower standard deviation is nearly blank (FER2013's faces: from 9.1)."""

PUBLISHED = {
    Usage.TRAINING: (3995, 436, 4097, 7215, 4830, 3171, 4965),
    Usage.PUBLIC_TEST: (467, 56, 496, 895, 653, 415, 607),
    Usage.PRIVATE_TEST: (491, 55, 528, 879, 594, 416, 626),
}
"""FER2013's faces a class as published, in the order of the classes."""


_Suspects = Mapping[str, Sequence[Suspect]]


class Kind(StrEnum):
    """What can be wrong with a face."""

    DUPLICATE = "duplicate"
    LEAKED = "leaked"
    CONFLICTING = "conflicting"
    CONSTANT = "constant"
    NEAR_BLANK = "near-blank"
    NEAR_DUPLICATE = "near-duplicate"
    SUSPECT = "suspect"
    NOT_A_FACE = "not-a-face"
    WRONG_SIZE = "wrong-size"
    BAD_ROW = "bad-row"


class Finding(NamedTuple):
    """Something wrong with one face.

    Attributes:
        kind: what.
        face: the face's number in the set, 0 to N - 1; None for what has no row (bad rows, wrong sizes).
        group: the number of the group's first face, for duplicates and near duplicates.
        twin: the number of the face that it resembles, or the first of its group.
        score: how bad, by kind: similarity 0 to 1, share of the votes, certainty; higher is worse.
        note: in words.
    """

    kind: Kind
    face: int | None
    group: int | None = None
    twin: int | None = None
    score: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Copies:
    """The identical and the near-identical images of a set, each array (N,).

    Attributes:
        first: int64, the number of the first face with the same pixels.
        near: int64, the number of the first face of those that are near duplicates of each other, directly or by a
            chain; identical ones belong together too.
        constant: bool, images of a single gray.
        near_blank: bool, images that are nearly of a single gray, but not quite.
        pairs: the near duplicates, each pair once, of faces that are the first of their copies.
    """

    first: NDArray[np.int64]
    near: NDArray[np.int64]
    constant: NDArray[np.bool_]
    near_blank: NDArray[np.bool_]
    pairs: Pairs

    def seen_in(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool (N,): faces that are among the masked ones, or have an identical or near duplicate there."""
        return np.isin(self.near, self.near[rows])

    @property
    def near_groups(self) -> NDArray[np.bool_]:
        """bool (N,): faces of a group of near duplicates, one that holds at least two different images."""
        distinct = self.first == np.arange(len(self.first))
        return np.bincount(self.near[distinct], minlength=len(self.first))[self.near] > 1


@dataclass(frozen=True)
class Quality:
    """What a check of ``faces`` found: one finding a face and kind, and the counts, ready for JSON."""

    faces: Faces
    copies: Copies
    findings: tuple[Finding, ...]
    figures: dict[str, Any]

    def of(self, kind: Kind) -> list[Finding]:
        """The findings of a kind."""
        return [finding for finding in self.findings if finding.kind == kind]


def check_faces(faces: Faces, by_model: Sequence[Suspect] | None = None, copies: Copies | None = None) -> Quality:
    """Find everything that pixels, labels and votes show.

    Args:
        faces: the set.
        by_model: suspect labels by a model (:func:`mien.data.quality.label_noise.by_model`); None without a model.
        copies: the result of :func:`find_copies`, where it is known already.
    """
    copies = copies or find_copies(faces.images)
    voted = by_votes(faces) if _has_votes(faces) else None
    suspects = {name: found for name, found in (("votes", voted), ("model", by_model)) if found is not None}
    found = (*_copy_findings(faces, copies), *_near_findings(faces, copies), *_other_findings(faces, copies, suspects))
    return Quality(faces, copies, found, _figures(faces, copies, suspects))


def find_copies(images: NDArray[np.uint8]) -> Copies:
    """Find identical, nearly identical and blank images, uint8 (N, 48, 48)."""
    numbers, first = np.arange(len(images)), first_copies(images)
    constant = images.min(axis=(1, 2)) == images.max(axis=(1, 2))
    blocks = (images[start : start + 1024] for start in range(0, len(images) + 1, 1024))  # std makes floats of them
    blank = np.concatenate([block.std(axis=(1, 2), dtype=np.float32) for block in blocks]) < BLANK
    distinct = np.flatnonzero((first == numbers) & ~blank)
    pairs = near_pairs(images[distinct])
    pairs = pairs._replace(first=distinct[pairs.first], second=distinct[pairs.second])
    near = connected(len(images), np.r_[numbers, pairs.first], np.r_[first, pairs.second])
    return Copies(first, near, constant, blank & ~constant, pairs)


def _has_votes(faces: Faces) -> bool:
    return faces.votes is not None and faces.labels == LABELS


def _copy_findings(faces: Faces, copies: Copies) -> Iterable[Finding]:
    first, count = copies.first, sizes(copies.first)
    trained = _in_training(faces, first)
    conflict = _conflicting(faces, first)
    for face in np.flatnonzero(count > 1).tolist():
        group, note = int(first[face]), f"{count[face]} identical images"
        yield Finding(Kind.DUPLICATE, face, group, group, float(count[face]), note)
        if conflict[face]:
            yield Finding(Kind.CONFLICTING, face, group, group, float(count[face]), f"{note}, with different labels")
        if trained[face] >= 0 and faces.usage[face] != TRAINING:
            yield Finding(Kind.LEAKED, face, group, int(trained[face]), 1.0, "also in Training")


def _near_findings(faces: Faces, copies: Copies) -> Iterable[Finding]:
    pairs = copies.pairs
    best: dict[int, tuple[float, int, bool]] = {}
    for one, other, mirrored, alike in zip(*(column.tolist() for column in pairs), strict=True):
        for face, twin in ((one, other), (other, one)):
            if face not in best or alike > best[face][0]:
                best[face] = (alike, twin, mirrored)
    for face in np.flatnonzero(copies.near_groups).tolist():
        alike, twin, mirrored = best[int(copies.first[face])]
        note = f"near duplicate ({USAGES[faces.usage[twin]]}{', mirrored' if mirrored else ''})"
        yield Finding(Kind.NEAR_DUPLICATE, face, int(copies.near[face]), twin, round(alike, 4), note)


def _other_findings(faces: Faces, copies: Copies, suspects: _Suspects) -> Iterable[Finding]:
    for name, found in suspects.items():
        for suspect in found:
            yield Finding(Kind.SUSPECT, suspect.face, score=suspect.score, note=f"{suspect.better} by {name}")
    yield from (Finding(Kind.CONSTANT, face) for face in np.flatnonzero(copies.constant).tolist())
    yield from (Finding(Kind.NEAR_BLANK, face) for face in np.flatnonzero(copies.near_blank).tolist())
    if faces.votes is not None and _has_votes(faces):
        for face in np.flatnonzero(not_faces(faces)).tolist():
            votes = int(faces.votes[face, NOT_A_FACE])
            total = int(faces.votes[face].sum(dtype=np.int64))
            yield Finding(Kind.NOT_A_FACE, face, score=votes / total, note=f"{votes} of {total} votes: not a face")
    yield from (Finding(Kind.WRONG_SIZE, None, note=line) for line in faces.resized)
    yield from (Finding(Kind.BAD_ROW, None, note=line) for line in faces.skipped)


def _in_training(faces: Faces, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (N,): the number of a Training face of each face's group, or -1."""
    found = np.full(len(faces), -1, np.int64)
    training = np.flatnonzero(faces.usage == TRAINING)[::-1]
    found[group[training]] = training
    return found[group]


def _conflicting(faces: Faces, group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (N,): faces of a group that has more than one label; those without a label do not count."""
    known = np.flatnonzero(faces.emotion != UNLABELLED)
    pairs = np.unique(np.stack([group[known], faces.emotion[known]]), axis=1)
    return (np.bincount(pairs[0], minlength=len(faces)) > 1)[group]


def _figures(faces: Faces, copies: Copies, suspects: _Suspects) -> dict[str, Any]:
    near = copies.near_groups
    conflict = near & _conflicting(faces, copies.near)
    tests = near & (faces.usage != TRAINING) & (_in_training(faces, copies.first) < 0)
    leaked = tests & (_in_training(faces, copies.near) >= 0)
    return {
        "name": faces.name,
        "fingerprint": faces.fingerprint,
        "rows": len(faces),
        "splits": faces.splits(),
        **_copy_figures(faces, copies.first),
        "constant": int(copies.constant.sum()),
        "near_blank": int(copies.near_blank.sum()),
        "without_constant": _copy_figures(faces, np.where(copies.constant, np.arange(len(faces)), copies.first)),
        "near_threshold": SIMILAR,
        "near_duplicate_groups": len(np.unique(copies.near[near])),
        "near_duplicate_faces": int(near.sum()),
        "near_leaked": _by_test(faces, leaked),
        "near_conflicting_groups": len(np.unique(copies.near[conflict])),
        **_label_figures(faces),
        "unlabelled": int((faces.emotion == UNLABELLED).sum()),
        "wrong_sizes": dict(Counter(line.rpartition(": ")[2] for line in faces.resized)),
        "skipped": list(faces.skipped),
        "suspect_labels": len({one.face for found in suspects.values() for one in found}) if suspects else None,
        "suspects_by": {name: len(found) for name, found in suspects.items()},
        "not_a_face": int(not_faces(faces).sum()) if _has_votes(faces) else None,
        "notes": _notes(faces, suspects),
    }


def _copy_figures(faces: Faces, first: NDArray[np.int64]) -> dict[str, Any]:
    group = sizes(first) > 1
    private = faces.usage == USAGES.index(Usage.PRIVATE_TEST)
    public = np.isin(first, first[faces.usage == USAGES.index(Usage.PUBLIC_TEST)])
    return {
        "duplicate_groups": len(np.unique(first[group])),
        "duplicate_faces": int(group.sum()),
        "leaked": _by_test(faces, (_in_training(faces, first) >= 0) & (faces.usage != TRAINING)),
        "private_in_public": int((private & public).sum()),
        "conflicting_groups": len(np.unique(first[_conflicting(faces, first)])),
    }


def _by_test(faces: Faces, mask: NDArray[np.bool_]) -> dict[str, int]:
    """How many faces of each test split; empty where there is no Training."""
    tests = [name for name in faces.splits() if name != Usage.TRAINING]
    if not (faces.usage == TRAINING).any():
        return {}
    return {name: int((mask & (faces.usage == USAGES.index(Usage(name)))).sum()) for name in tests}


def _label_figures(faces: Faces) -> dict[str, Any]:
    counts = {name: faces.select(name).label_counts() for name in faces.splits()}
    known = PUBLISHED if faces.labels == LABELS else {}
    published = {str(name): dict(zip(LABELS, row, strict=True)) for name, row in known.items()}
    imbalance = {
        name: round(max(row.values()) / min(row.values()), 2) if min(row.values()) else None
        for name, row in counts.items()
    }
    return {"labels": counts, "published": published, "as_published": counts == published, "imbalance": imbalance}


def _notes(faces: Faces, suspects: _Suspects) -> list[str]:
    """What could not be checked, and why."""
    notes = []
    if not _has_votes(faces):
        notes.append("not-a-face rows and suspect labels by votes, as there are no FER+ votes (mien data ferplus)")
    if "model" not in suspects:
        notes.append("suspect labels by a model, as there is no model (--model)")
    if not (faces.usage == TRAINING).any():
        notes.append("leaks from Training, as there is no Training split")
    return notes
