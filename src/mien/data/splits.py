"""Splits for a data set that lacks some: stratified, without copies on both sides, the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import USAGES, Faces, Usage
from mien.data.quality.duplicates import first_copies
from mien.errors import DataError

SHARE = 0.15
"""The part of each class that goes to a split that is made."""
SMALLEST = 3
"""How many different images a class needs: one for each of Training, PublicTest and PrivateTest."""
MADE = (Usage.PRIVATE_TEST, Usage.PUBLIC_TEST)
"""The splits that can be made out of Training, in the order in which they are filled."""
TRAINING, TEST = USAGES.index(Usage.TRAINING), USAGES.index(Usage.TEST)


def with_missing_splits(faces: Faces) -> Faces:
    """The set as it is after reading, whatever its layout: with the splits that it lacks (:func:`with_splits`).

    A set without Training faces stays as it is; one with a class of too few images as well, with a note.
    """
    if not (faces.usage == TRAINING).any():
        return faces
    try:
        return with_splits(faces)
    except DataError as error:
        missing = " and ".join(reversed(_missing(faces)))
        return replace(faces, notes=(*faces.notes, f"without {missing}, and none made: {error.what}"))


def _different(faces: Faces) -> dict[str, int]:
    """How many different images each class has."""
    first = first_copies(faces.images) == np.arange(len(faces))
    return faces.take(first).label_counts()


def _missing(faces: Faces) -> list[Usage]:
    """The splits that can be made and have no labelled face."""
    have = set(faces.take(faces.emotion >= 0).splits())
    have |= {str(Usage.PRIVATE_TEST)} if Usage.TEST in have else set()
    return [usage for usage in MADE if usage not in have]


def with_splits(faces: Faces, shares: Mapping[Usage, float] | None = None, seed: int = 0) -> Faces:
    """The set with the splits that it lacks, taken out of Training.

    PublicTest and PrivateTest are lacking where they have no labelled face; labelled test faces of no known part
    become PrivateTest.

    Each class gives its share. Images that are equal or near duplicates
    (:mod:`mien.data.quality.near_duplicates`) stay on one side; where a class is all one chain of near
    duplicates, as the frames of a film are, only equal ones do, and the note says so. Which
    image goes where follows from its pixels and the seed, not from names or their order, so that images that are added
    later move few others.

    Args:
        faces: a set with Training faces.
        shares: how much of each class of Training a missing split gets, between 0 and 1; without it :data:`SHARE`.
        seed: another one gives other splits.

    Returns:
        The same faces in the same order, with a line in ``notes`` on what was made; the set itself where it lacks none.

    Raises:
        DataError: where a class has too few different images.
    """
    of_no_part = (faces.usage == TEST) & (faces.emotion >= 0)
    if of_no_part.any() and Usage.PRIVATE_TEST not in faces.splits():
        faces = replace(faces, usage=np.where(of_no_part, USAGES.index(Usage.PRIVATE_TEST), faces.usage))
    missing = {usage: (shares or {}).get(usage, SHARE) for usage in _missing(faces)}
    if not missing:
        return faces
    rows = np.flatnonzero(faces.usage == TRAINING)
    training = faces.take(rows)
    _check(training, len(missing))
    usage, near = _assign(training, missing, seed)
    whole = faces.usage.copy()
    whole[rows] = usage
    return replace(faces, usage=whole, notes=(*faces.notes, _note(missing, seed, near)))


def split_faces(
    faces: Faces, validation: float = SHARE, test: float = SHARE, seed: int = 0, reassign: bool = False
) -> Faces:
    """The set with the splits that it lacks, as :func:`with_splits` makes them.

    Args:
        faces: a set with Training faces.
        validation: how much of each class goes to PublicTest.
        test: how much goes to PrivateTest.
        seed: another one gives other splits.
        reassign: take all faces for Training first, whatever splits they have.

    Raises:
        DataError: where a share is not between 0 and 1, nothing is to be made, or there is nothing to make it of.
    """
    shares = {Usage.PRIVATE_TEST: test, Usage.PUBLIC_TEST: validation}
    if min(shares.values()) <= 0 or sum(shares.values()) >= 1:
        what = f"shares of {validation:g} and {test:g} leave nothing on one side"
        raise DataError(what, "--validation, --test", "Give numbers above 0 whose sum is below 1.")
    if reassign:
        faces = replace(faces, usage=np.full(len(faces), TRAINING, np.uint8), notes=())
    if not (faces.usage == TRAINING).any():
        raise DataError("it has no Training faces to take a split from", faces.name, "Add --reassign.")
    if not _missing(faces):
        raise DataError("it has all splits already", faces.name, "Add --reassign to split all faces anew.")
    if (faces.emotion < 0).any():
        raise DataError("it has faces without a label", faces.name, "Leave them out.")
    return with_splits(faces, shares, seed)


def _check(training: Faces, made: int) -> None:
    for label, count in _different(training).items():
        if 0 < count < made + 1:
            what = f"the class {label} has too few different images ({count}) to make splits of it"
            mend = f"Add images ({SMALLEST} at least), or make the folders train, validation and test yourself."
            raise DataError(what, training.name, mend)


def _assign(training: Faces, missing: Mapping[Usage, float], seed: int) -> tuple[NDArray[np.uint8], bool]:
    """The split of each Training face, and whether near duplicates stay together."""
    from mien.data.quality.checks import find_copies  # only needed here, and slow to import

    copies = find_copies(training.images)
    for group, near in ((copies.near, True), (copies.first, False)):
        usage = _fill(training, group, missing, seed)
        if _is_even(training, usage, missing):
            return usage, near
    return usage, False


def _fill(training: Faces, group: NDArray[np.int64], missing: Mapping[Usage, float], seed: int) -> NDArray[np.uint8]:
    """Give groups of images to splits, class by class, in an order that follows from pixels and seed."""
    usage = np.full(len(training), TRAINING, np.uint8)
    for groups in _groups(training, group, seed):
        total, left = sum(map(len, groups)), len(groups)
        for split, share in missing.items():
            room = max(1, round(share * total))
            for members in groups:
                if usage[members[0]] == TRAINING and len(members) <= room and left > 1:
                    usage[members] = USAGES.index(split)
                    room, left = room - len(members), left - 1
    return usage


def _groups(training: Faces, group: NDArray[np.int64], seed: int) -> list[list[list[int]]]:
    """For every class its groups of faces; a group belongs to its first face's class."""
    key = [hashlib.sha256(b"%d:" % seed + image.tobytes()).digest() for image in training.images]
    members: dict[int, list[int]] = {}
    for number, head in enumerate(group.tolist()):
        members.setdefault(head, []).append(number)
    classes: list[list[list[int]]] = [[] for _ in training.labels]
    for one in sorted(members.values(), key=lambda some: min(key[number] for number in some)):
        classes[training.emotion[one[0]]].append(one)
    return classes


def _is_even(training: Faces, usage: NDArray[np.uint8], missing: Mapping[Usage, float]) -> bool:
    """Whether every class has at least half of its share in every split that was made."""
    for label in np.unique(training.emotion):
        mine = usage[training.emotion == label]
        for split, share in missing.items():
            if (mine == USAGES.index(split)).sum() < max(1, int(share * len(mine) / 2)):
                return False
    return True


def _note(missing: Mapping[Usage, float], seed: int, near: bool) -> str:
    parts = " and ".join(f"{usage} ({share:.0%} of each class)" for usage, share in reversed(list(missing.items())))
    together = "copies and near duplicates stay on one side"
    if not near:
        together = (
            "only equal images stay on one side, for the rest are near duplicates of each other, as frames of a film "
            "are: figures will flatter"
        )
    return f"made {parts} out of Training, by the images' content and seed {seed}; {together}"
