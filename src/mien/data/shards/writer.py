"""Any data set -> shards (:mod:`mien.data.shards.reader`), block by block, so that it need not fit in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mien._utils.files import atomic, protect
from mien.data.builder import TRAINING, Progress
from mien.data.decoding import PGM
from mien.data.faces import UNLABELLED, USAGES, Faces, Usage, join
from mien.data.load import source_files, stream_faces
from mien.data.shards.reader import INDEX, Index, ShardFile, Shards, ShardSplit, SplitIndex, block_digest
from mien.data.writers import face_table, new_folder, parquet_schema
from mien.emotions import LABELS
from mien.errors import DataError, require

ROWS = 16_384
"""Faces in a file by default: 38 MB."""

BLOCK = 256
"""Faces in a block by default: 0.6 MB."""

_CHUNK = 1 << 20


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

    Each split's faces keep their order, and the splits follow one another. Memory grows by a byte a
    face for the labels; an npz file, and the names in a folder of images, are read whole.

    Args:
        source: faces, in one set or many, or what :func:`mien.load_faces` reads.
        out: a new or empty folder; nothing is left there when writing fails.
        rows: faces in a file, rounded up to whole blocks.
        block: faces in a block, the smallest part that is read at once.
        skip_bad: leave bad rows out, instead of stopping at the first.
        label_order: as for :func:`mien.load_faces`.
        progress: called as the reading goes on.
        on_note: called with each line on what was decided in reading.

    Returns:
        The shards, opened, and one line for each bad row that was left out.

    Raises:
        MienError: as :func:`mien.load_faces`; also for a folder that is not empty or cannot be written, and
            faces of which only a part has FER+ votes.
    """
    if rows < 1 or block < 1:
        raise DataError(f"shards of {rows} faces in blocks of {block}", mend="Give at least 1 of each.")
    path = Path(out).expanduser()
    skipped: tuple[str, ...] = ()
    if source is None or isinstance(source, str | Path):
        protect([path], source_files(source))
    with _writable(path), new_folder(path) as folder:
        with closing(_Writer(folder, path, block, -(-rows // block))) as writer:
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
            index = _completed(Shards(folder, writer.finish()))
        with atomic(folder / INDEX) as temporary:
            temporary.write_text(index.to_text(), encoding="utf-8")
    return Shards.open(path), skipped


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"the shards cannot be written ({error.strerror or error})"
        raise DataError(what, path, "Choose another path.") from error


class _Writer:
    """Sorts faces into splits, each of which has a file open at most.

    Args:
        folder: where the files go.
        path: the folder's final path, for errors.
        block: faces in a block.
        blocks: blocks in a file.
    """

    def __init__(self, folder: Path, path: Path, block: int, blocks: int) -> None:
        self.folder, self.path, self.block, self.blocks = folder, path, block, blocks
        self.votes: bool | None = None
        self.splits: dict[Usage, _SplitWriter] = {}

    def close(self) -> None:
        """Close the files that are still open where the writing failed."""
        for split in self.splits.values():
            if split.file is not None:
                split.file.close()

    def add(self, faces: Faces) -> None:
        """Write what fills blocks, and keep the rest until more comes."""
        has_votes = faces.votes is not None
        if self.votes not in (None, has_votes):
            mend = "Add them to all of its files, or to none."
            raise DataError("only a part of the faces has FER+ votes", faces.name, mend)
        self.votes = has_votes
        if ((faces.emotion == UNLABELLED) & (faces.usage == TRAINING)).any():
            raise DataError("it has Training faces without a label", faces.name, "Label them, or leave them out.")
        with _writable(self.path):  # or it would count as an error of the source
            for number in np.unique(faces.usage).tolist():
                usage = USAGES[number]
                if usage not in self.splits:
                    self.splits[usage] = _SplitWriter(self.folder, usage, has_votes, self.block, self.blocks)
                self.splits[usage].add(faces.take(faces.usage == number))

    def finish(self) -> Index:
        """Write what is left; the labels' counts and the fingerprint are still missing from the index."""
        if not self.splits:
            raise DataError("there are no faces to write", self.path)
        found = {}
        for usage in (usage for usage in USAGES if usage in self.splits):
            self.splits[usage].finish()
            found[usage] = SplitIndex(labels=[], unlabelled=0, files=self.splits[usage].files)
        return Index(block=self.block, votes=bool(self.votes), fingerprint="", splits=found)


class _SplitWriter:
    """Writes one split's files, one after another."""

    def __init__(self, folder: Path, usage: Usage, votes: bool, block: int, blocks: int) -> None:
        self.folder, self.usage, self.block, self.blocks = folder, usage, block, blocks
        self.schema = parquet_schema(require("pyarrow", "train"), votes)
        self.files: list[ShardFile] = []
        self.file: Any = None
        self._waiting: list[Faces] = []
        self._digests: list[str] = []
        self._rows = 0

    def add(self, faces: Faces) -> None:
        self._waiting.append(faces)
        if sum(map(len, self._waiting)) < self.block:
            return
        whole = join(self._waiting, faces.name)
        stop = len(whole) // self.block * self.block
        for start in range(0, stop, self.block):
            self._write(whole.take(slice(start, start + self.block)))
        self._waiting = [whole.take(np.arange(stop, len(whole)))]

    def finish(self) -> None:
        rest = join(self._waiting, "")
        if len(rest):
            self._write(rest)
        if self.file is not None:
            self._end_file()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.usage}-{len(self.files):05}.parquet"

    def _write(self, faces: Faces) -> None:
        if self.file is None:
            self.file = require("pyarrow.parquet", "train").ParquetWriter(
                self._path, self.schema, compression="none", use_dictionary=["usage"], write_statistics=False
            )
        images = [PGM + image.tobytes() for image in faces.images]
        table = face_table(require("pyarrow", "train"), faces, images, self.schema)
        self.file.write_table(table, row_group_size=self.block)
        self._digests.append(block_digest(faces))
        self._rows += len(faces)
        if len(self._digests) == self.blocks:
            self._end_file()

    def _end_file(self) -> None:
        path = self._path
        self.file.close()
        size = path.stat().st_size
        self.files.append(ShardFile(name=path.name, rows=self._rows, bytes=size, blocks=self._digests))
        self.file, self._digests, self._rows = None, [], 0


def _completed(shards: Shards) -> Index:
    """The index with its counts and :attr:`mien.data.Faces.fingerprint`, from every block, read as it was written."""
    digest, labels = hashlib.sha256(), dict[Usage, bytes]()
    for usage in shards.index.splits:
        found = bytearray()
        for block in ShardSplit(shards, usage):
            digest.update(np.ascontiguousarray(block.images).data)
            found += block.emotion.astype(np.int8).tobytes()
        labels[usage] = bytes(found)
    whole = np.frombuffer(b"".join(labels.values()), np.int8)
    for start in range(0, len(whole), _CHUNK):
        digest.update(whole[start : start + _CHUNK].astype(np.int64).data)
    splits = {}
    for usage, split in shards.index.splits.items():
        digest.update(bytes([USAGES.index(usage)]) * split.rows)
        none, *counts = np.bincount(np.frombuffer(labels[usage], np.int8) + 1, minlength=len(LABELS) + 1).tolist()
        splits[usage] = split.model_copy(update={"labels": counts, "unlabelled": none})
    return shards.index.model_copy(update={"fingerprint": digest.hexdigest(), "splits": splits})
