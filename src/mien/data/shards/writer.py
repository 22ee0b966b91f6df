"""Any data set -> shards (:mod:`mien.data.shards.reader`), block by block, so that it need not fit in memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic, protect
from mien.data.builder import TRAINING, Progress
from mien.data.decoding import PGM
from mien.data.faces import UNLABELLED, USAGES, Faces, Usage, join
from mien.data.load import source_files, stream_faces
from mien.data.shards.reader import INDEX, PIXELS, VOTES, Index, Part, ShardFile, Shards, ShardSplit, block_digest
from mien.data.writers import new_folder, parquet_schema
from mien.emotions import LABELS
from mien.errors import DataError, require

ROWS = 16_384
"""Faces in a file, where nothing else is asked for: 38 MB."""

BLOCK = 256
"""Faces in a block, where nothing else is asked for: 0.6 MB."""

_PIECE = 1 << 20


def write_shards(
    source: Faces | Iterable[Faces] | str | Path | None,
    out: str | Path,
    *,
    rows: int = ROWS,
    block: int = BLOCK,
    skip_bad: bool = False,
    label_order: str | None = None,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> tuple[Shards, tuple[str, ...]]:
    """Write a data set as a folder of shards, read every face back, and check it.

    Each split's faces keep their order, and the splits stand one after another. Memory does not grow with the number of
    faces, but for an npz file and for the names in a folder of images.

    Args:
        source: faces, in one set or many, or what :func:`mien.load_faces` reads.
        out: a new or empty folder; nothing is left there when writing fails.
        rows: faces in a file, rounded up to whole blocks.
        block: faces in a block, the smallest part that is read at once.
        skip_bad: leave bad rows out, instead of stopping at the first.
        label_order: as for :func:`mien.load_faces`.
        progress: called as the reading goes on.
        on_note: told what was decided in reading, a line at a time.

    Returns:
        The shards, opened, and one line for each bad row that was left out.

    Raises:
        MienError: as :func:`mien.load_faces`; also for a folder that is not empty, a place that cannot be written, and
            faces of which only a part has FER+ votes.
    """
    if rows < 1 or block < 1:
        raise DataError(f"shards of {rows} faces in blocks of {block}", mend="Give at least 1 of each.")
    path = Path(out).expanduser()
    skipped: tuple[str, ...] = ()
    if source is None or isinstance(source, str | Path):
        protect([path], source_files(source))
    with _writable(path), new_folder(path) as folder:
        with _Writer(folder, path, block, -(-rows // block)) as writer:
            if source is None or isinstance(source, str | Path):
                skipped, notes = stream_faces(
                    source, writer.add, skip_bad=skip_bad, label_order=label_order, progress=progress
                )
                if on_note is not None:
                    for note in notes:
                        on_note(note)
            else:
                for faces in [source] if isinstance(source, Faces) else source:
                    writer.add(faces)
            index = writer.finish()
        index = index.model_copy(update={"fingerprint": _fingerprint(Shards(folder, index))})
        with atomic(folder / INDEX) as temporary:
            temporary.write_text(index.to_text(), encoding="utf-8")
    return Shards.open(path), skipped


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"the shards cannot be written ({error.strerror or error})"
        raise DataError(what, path, "Choose another place.") from error


class _Writer:
    """Sorts faces into splits, each of which has a file open at most.

    Args:
        folder: where the files go.
        place: what to call it in errors.
        block: faces in a block.
        blocks: blocks in a file.
    """

    def __init__(self, folder: Path, place: Path, block: int, blocks: int) -> None:
        self.folder, self.place, self.block, self.blocks = folder, place, block, blocks
        self.votes: bool | None = None
        self._splits: dict[Usage, _SplitWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for split in self._splits.values():
            split.close()

    def add(self, faces: Faces) -> None:
        """Write what fills blocks, and keep the rest until more comes."""
        self._check(faces)
        with _writable(self.place):
            for number in np.unique(faces.usage).tolist():
                usage = USAGES[number]
                if usage not in self._splits:
                    votes = faces.votes is not None
                    self._splits[usage] = _SplitWriter(self.folder, usage, votes, self.block, self.blocks)
                self._splits[usage].add(faces.take(faces.usage == number))

    def _check(self, faces: Faces) -> None:
        has_votes = faces.votes is not None
        if self.votes not in (None, has_votes):
            mend = "Add them to all of its files, or to none."
            raise DataError("only a part of the faces has FER+ votes", faces.name, mend)
        self.votes = has_votes
        if ((faces.emotion == UNLABELLED) & (faces.usage == TRAINING)).any():
            raise DataError("it has Training faces without a label", faces.name, "Label them, or leave them out.")

    def finish(self) -> Index:
        """Write what is left, and say what was written; the fingerprint is still to be taken."""
        if not self._splits:
            raise DataError("there are no faces to write", self.place)
        with _writable(self.place):
            parts = {usage: self._splits[usage].finish() for usage in USAGES if usage in self._splits}
        return Index(block=self.block, votes=bool(self.votes), fingerprint="", splits=parts)


class _SplitWriter:
    """Writes one split's files, one after another."""

    def __init__(self, folder: Path, usage: Usage, votes: bool, block: int, blocks: int) -> None:
        self.folder, self.usage, self.block, self.blocks = folder, usage, block, blocks
        self.schema = parquet_schema(require("pyarrow", "train"), votes)
        self.files: list[ShardFile] = []
        self.labels, self.unlabelled = np.zeros(len(LABELS), np.int64), 0
        self._waiting: list[Faces] = []
        self._digests: list[str] = []
        self._rows = 0
        self._stack = ExitStack()
        self._file: Any = None

    def add(self, faces: Faces) -> None:
        self._waiting.append(faces)
        if sum(map(len, self._waiting)) < self.block:
            return
        whole = join(self._waiting, faces.name)
        stop = len(whole) // self.block * self.block
        for start in range(0, stop, self.block):
            self._write(whole.take(np.arange(start, start + self.block)))
        self._waiting = [whole.take(np.arange(stop, len(whole)))]

    def finish(self) -> Part:
        rest = join(self._waiting, "")
        if len(rest):
            self._write(rest)
        if self._file is not None:
            self._end_file()
        return Part(labels=self.labels.tolist(), unlabelled=self.unlabelled, files=self.files)

    def close(self) -> None:
        """Let go of the file that is still open where the writing failed."""
        self._stack.close()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.usage}-{len(self.files):05}.parquet"

    def _write(self, faces: Faces) -> None:
        if self._file is None:
            parquet = require("pyarrow.parquet", "train")
            temporary = self._stack.enter_context(atomic(self._path))
            writer = parquet.ParquetWriter(
                temporary, self.schema, compression="none", use_dictionary=["usage"], write_statistics=False
            )
            self._file = self._stack.enter_context(writer)
        self._file.write_table(_table(faces, self.schema), row_group_size=self.block)
        self._digests.append(block_digest(faces))
        self._rows += len(faces)
        self.labels += np.bincount(faces.emotion[faces.emotion >= 0], minlength=len(LABELS))
        self.unlabelled += int((faces.emotion < 0).sum())
        if len(self._digests) == self.blocks:
            self._end_file()

    def _end_file(self) -> None:
        path = self._path
        self._stack.close()
        size = path.stat().st_size
        self.files.append(ShardFile(name=path.name, rows=self._rows, bytes=size, blocks=self._digests))
        self._file, self._digests, self._rows = None, [], 0


def _table(faces: Faces, schema: Any) -> Any:
    arrow = require("pyarrow", "train")
    columns = {"image": _as_pgm(faces.images), "emotion": faces.emotion}
    columns["usage"] = [str(USAGES[usage]) for usage in faces.usage]
    if faces.votes is not None:
        columns |= {name: faces.votes[:, i] for i, name in enumerate(VOTES)}
    return arrow.table(columns, schema=schema)


def _as_pgm(images: NDArray[np.uint8]) -> Any:
    arrow = require("pyarrow", "train")
    n, size = len(images), len(PGM) + PIXELS
    files = np.empty((n, size), np.uint8)
    files[:, : len(PGM)] = np.frombuffer(PGM, np.uint8)
    files[:, len(PGM) :] = images.reshape(n, PIXELS)
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(size)
    buffers = [None, arrow.py_buffer(offsets), arrow.py_buffer(files)]
    return arrow.Array.from_buffers(arrow.binary(), n, buffers)


def _fingerprint(shards: Shards) -> str:
    """As :attr:`mien.data.Faces.fingerprint`, and a look at whether every block can be read as it was written."""
    digest, usages = hashlib.sha256(), [usage for usage in USAGES if usage in shards.index.splits]
    with tempfile.TemporaryFile(dir=shards.root) as labels:
        for usage in usages:
            for block in ShardSplit(shards, usage):
                digest.update(np.ascontiguousarray(block.images).data)
                labels.write(block.emotion.astype(np.int8).data)
        labels.seek(0)
        while piece := labels.read(_PIECE):
            digest.update(np.frombuffer(piece, np.int8).astype(np.int64).data)
    for usage in usages:
        rows = shards.index.splits[usage].rows
        for start in range(0, rows, _PIECE):
            digest.update(bytes([USAGES.index(usage)]) * min(_PIECE, rows - start))
    return digest.hexdigest()
