"""Any layout of FER2013 -> Faces: the layout is recognised from what the file or folder holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mien._utils.files import require_regular
from mien.data.builder import Builder, Progress, first_usage, is_emotion
from mien.data.cache import content_key, read_cache, write_cache
from mien.data.classes import CLASSES_FILE
from mien.data.faces import Faces
from mien.data.known_votes import vote_adder, with_known_votes
from mien.data.readers.csv_files import header_columns, read_csv, read_tar
from mien.data.readers.images import find_images, read_images
from mien.data.readers.parquet import read_npz, read_parquet
from mien.data.readers.path_lists import files_of, is_list, read_list, read_rows
from mien.data.splits import with_missing_splits
from mien.data.walk import describe_unread
from mien.emotions import LabelOrder
from mien.errors import DataError, printable

_HEADER = 1 << 16
_RICHEST_FIRST = ("icml_face_data.csv", "fer2013.csv", "fer2013.tar.gz")
_KAGGLE_PAIR = ("train.csv", "test.csv")
_KNOWN = (
    "mien reads icml_face_data.csv, fer2013.csv, fer2013.tar.gz, train.csv with test.csv, "
    "folders of images named after emotions or classes of your own, a CSV of path and label, parquet and npz."
)


class _Plan(NamedTuple):
    """How a source is read."""

    kind: str
    root: Path
    files: Sequence[Path]
    """All that the result depends on."""
    read: Callable[[Builder], None]
    unread: str | None = None
    """What else is in the folder."""


def load_faces(
    source: str | Path | None = None,
    *,
    skip_bad: bool = False,
    cache: bool = True,
    make_splits: bool = True,
    label_order: str | None = None,
    progress: Progress | None = None,
) -> Faces:
    """Read a data set, whatever its layout.

    Args:
        source: a file or folder; without it, the path in the environment variable MIEN_DATA.
            Kaggle's tables (icml_face_data.csv, fer2013.csv, fer2013.tar.gz, train.csv and test.csv), folders of
            images ``<split>/<class>/*`` or ``<class>/*``, a CSV of image paths and labels, parquet (also Hugging
            Face's shards) and npz. Folders, lists and parquet may have classes of one's own in place of the seven
            emotions (:mod:`mien.data.classes`).
        skip_bad: leave bad rows out and list them in ``Faces.skipped``, instead of raising at the first.
        cache: store the result in the cache folder, and read it from there for the same bytes.
        make_splits: make the splits that the set lacks (:func:`mien.data.splits.with_missing_splits`).
        label_order: whose numbers the labels are, where they are numbers (:class:`mien.emotions.LabelOrder`):
            ``fer2013``, ``raf-db``, ``affectnet`` (contempt is left out and counted) or ``affectnet-8`` (contempt is
            an eighth class). Without it they are FER2013's, with a line in ``Faces.notes`` but for tables in FER2013's
            own layout; a 7, which FER2013 has not, is an error then.
        progress: called as a cold load goes on.

    Returns:
        The faces, with images uint8 (N, 48, 48) and labels 0 to 6 in the order of :class:`mien.Emotion`, or those of
        one's own classes in the order of ``Faces.labels``. Splits that the set lacks are made out
        of Training, with a line in ``Faces.notes``.

    Raises:
        DataError: where there is no such data set, or it is of no known layout, or damaged.
        BadRowError: at the first bad row, unless ``skip_bad``.
        MissingExtraError: for parquet, where pyarrow is not installed.
    """
    with _readable(source):
        path = find_source(source)
        plan, name = _recognise(path), printable(path.name)
        order = _order(label_order)
        traits = (plan.kind, skip_bad, str(order), *(() if make_splits else ("without splits",)))
        key = content_key(plan.files, plan.root, *traits) if cache else ""
        faces = read_cache(key, name) if cache else None
        if faces is None:
            builder = Builder(plan.root, skip_bad, progress, order)
            plan.read(builder)
            faces = builder.build(name)
            faces = with_known_votes(faces)
            faces = with_missing_splits(faces) if make_splits else faces
            if cache:
                write_cache(key, faces)
    return replace(faces, notes=(*faces.notes, plan.unread)) if plan.unread else faces


def stream_faces(
    source: str | Path | None,
    take: Callable[[Faces], None],
    *,
    skip_bad: bool = False,
    label_order: str | None = None,
    progress: Progress | None = None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read a data set block by block, so that it need not fit in memory.

    Args:
        source, skip_bad, label_order, progress: as for :func:`load_faces`; an npz file is read whole.
        take: called with the blocks in the order of the source, each of some thousand faces at most.

    Returns:
        One line for each bad row that was left out, and the notes on what was decided in reading.

    Raises:
        MienError: as :func:`load_faces`.
    """
    with _readable(source):
        plan = _recognise(find_source(source))
        add_votes = vote_adder()
        builder = Builder(plan.root, skip_bad, progress, _order(label_order), lambda block: take(add_votes(block)))
        plan.read(builder)
        builder.finish()
    return tuple(builder.skipped), builder.notes


def _order(name: str | None) -> LabelOrder | None:
    try:
        return None if name is None else LabelOrder(name)
    except ValueError as error:
        mend = f"Choose one of {', '.join(LabelOrder)}."
        raise DataError(f"there is no label order {name!r}", mend=mend) from error


@contextmanager
def _readable(source: str | Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"it cannot be read ({reason})", error.filename or source, "Check its permissions.") from error


def find_source(source: str | Path | None) -> Path:
    """The absolute path of a data set; without ``source``, the path in MIEN_DATA.

    Raises:
        DataError: where there is no path, or nothing there.
    """
    given = source if source is not None else os.environ.get("MIEN_DATA")
    if not given:
        mend = "Give its path, or set the environment variable MIEN_DATA to it; mien data fetch OUT downloads FER2013."
        raise DataError("no data set was given", mend=mend)
    path = Path(given).expanduser().absolute()
    if not path.exists():
        origin = "" if source is not None else " (from MIEN_DATA)"
        raise DataError(f"there is no such file or folder{origin}", given, "Check the path.")
    require_regular(path)
    return path


def source_files(source: str | Path | None) -> Iterator[Path]:
    """What reading a data set reads: its path and each of its files; nothing without a data set.

    Raises:
        DataError: as :func:`load_faces`.
    """
    if source is not None or os.environ.get("MIEN_DATA"):
        with _readable(source):
            path = find_source(source)
            yield path
            plan = _recognise(path)
            yield plan.root
            yield from plan.files


def _recognise(path: Path) -> _Plan:
    return _recognise_folder(path) if path.is_dir() else _recognise_file(path)


def _recognise_file(path: Path) -> _Plan:
    with path.open("rb") as file:
        head = file.readline(_HEADER)
    suffix = path.suffix.lower()
    if not head:
        raise DataError("the file is empty", path, "Download or write it again.")
    if head[:4] == b"PAR1" or suffix == ".parquet":
        return _Plan("parquet", path, [path], partial(read_parquet, [path], path))
    if head[:2] == b"\x1f\x8b" or suffix in (".gz", ".tgz"):
        return _Plan("tar", path, [path], partial(read_tar, path))
    if head[:4] == b"PK\x03\x04" or suffix == ".npz":
        return _Plan("npz", path, [path], partial(read_npz, path))
    columns = header_columns(head)
    if is_list(columns):
        rows = read_rows(path)
        return _Plan("list", path.parent, files_of(rows, path), partial(read_list, rows, path))
    if suffix == ".csv" or "pixels" in columns:
        return _Plan("csv", path, [path], partial(read_csv, [path]))
    raise DataError("this is not a data set", path, _KNOWN)


def _recognise_folder(folder: Path) -> _Plan:
    plan = _tables_in(folder) or _arrays_in(folder)
    if plan is not None:
        return plan
    if (inner := _only_folder(folder)) is not None:
        return _recognise_folder(inner)
    unread: Counter[str] = Counter()
    images = find_images(folder, unread)
    if not images:
        raise DataError("the folder holds no data set", folder, _KNOWN)
    listed = [folder / CLASSES_FILE] if (folder / CLASSES_FILE).is_file() else []
    unread -= Counter({Path(CLASSES_FILE).suffix: len(listed)})
    read = partial(read_images, images, folder)
    return _Plan("images", folder, [*images, *listed], read, describe_unread(unread))


def _tables_in(folder: Path) -> _Plan | None:
    """The richest table of a folder, as Kaggle's download holds several of the same faces."""
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if _is_whole(path, folder)}
    for name in _RICHEST_FIRST:
        if name in files:
            return _recognise_file(files[name])
    pair = [files[name] for name in _KAGGLE_PAIR if name in files]
    if pair:
        return _Plan("csv", folder, pair, partial(read_csv, pair))
    tables = [path for name, path in files.items() if name.endswith(".csv") and _is_table(path)]
    return _only(tables, folder, "tables with pixels")


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        return "pixels" in header_columns(file.readline(_HEADER))


def _arrays_in(folder: Path) -> _Plan | None:
    shards = sorted(path for path in folder.rglob("*.parquet") if _is_whole(path, folder))
    if shards:
        return _Plan("parquet", folder, shards, partial(read_parquet, shards, folder))
    return _only(sorted(path for path in folder.glob("*.npz") if _is_whole(path, folder)), folder, "npz files")


def _is_whole(path: Path, folder: Path) -> bool:
    """Whether this is a file that a killed writer did not leave half-done: those are hidden, or in a hidden folder."""
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _only(files: Sequence[Path], folder: Path, kind: str) -> _Plan | None:
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:4])
        raise DataError(f"the folder holds {len(files)} {kind} ({names})", folder, "Give the path of one of them.")
    return _recognise_file(files[0]) if files else None


def _only_folder(folder: Path) -> Path | None:
    """The one folder inside a wrapper, as archives often unpack to."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    name = entries[0].name if len(entries) == 1 and entries[0].is_dir() else None
    return None if name is None or is_emotion(name) or first_usage([name]) is not None else entries[0]
