"""Shards: a data set that need not fit in memory, as a folder of parquet files beside a checksummed index.

Each file holds faces of one split, in blocks of equal size (row groups); only a split's last block may be smaller. The
columns are those of mien's other parquet files: ``image`` (binary PGM: a header of 13 bytes, then the pixels),
``emotion``, ``usage``, and the FER+ votes where there are any. ``shards.json`` counts what there is, and has a digest
of each block's faces, with which every read is compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mien.data.decoding import PGM
from mien.data.faces import SIDE, USAGES, Faces, Usage, join, pixel_keys
from mien.data.readers.parquet import VOTES
from mien.emotions import LABELS
from mien.errors import DataError, require

INDEX = "shards.json"
_MEND = "Fetch or write the shards again."
_OPEN_FILES = 8
_STRICT = ConfigDict(extra="forbid", frozen=True)


class ShardFile(BaseModel):
    """One file: its name, faces and bytes, and a digest for each of its blocks."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[A-Za-z]+-\d{5,}\.parquet$")
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1)
    blocks: list[str]


class SplitIndex(BaseModel):
    """One split: how many faces each class has, how many have no label, and its files in order."""

    model_config = _STRICT

    labels: list[int]
    unlabelled: int = Field(ge=0)
    files: list[ShardFile]

    @property
    def rows(self) -> int:
        """How many faces the split has."""
        return sum(file.rows for file in self.files)


class Index(BaseModel):
    """What ``shards.json`` holds."""

    model_config = _STRICT

    format: Literal["mien shards"] = "mien shards"
    version: Literal[1] = 1
    block: int = Field(ge=1)
    """Faces in a block."""
    votes: bool
    """Whether the faces have FER+ votes."""
    fingerprint: str
    """As :attr:`mien.data.Faces.fingerprint` of the same faces in memory, split after split."""
    splits: dict[Usage, SplitIndex]

    def to_text(self) -> str:
        """JSON with a checksum."""
        content = self.model_dump(mode="json")
        return json.dumps({"checksum": _checksum(content), "index": content}, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str, path: Path) -> Index:
        """Read what :meth:`to_text` wrote.

        Raises:
            DataError: where a bit of it has changed.
        """
        try:
            whole = json.loads(text)
            if whole["checksum"] != _checksum(whole["index"]):
                raise DataError("the index is damaged (its checksum is another)", path, _MEND)
            return cls.model_validate(whole["index"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("the index is damaged, or of another version of mien", path, _MEND) from error


def _checksum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def block_digest(faces: Faces) -> str:
    """64 bits of SHA-256 (hex) over pixels, labels and votes of a block."""
    digest = hashlib.sha256(np.ascontiguousarray(faces.images).data)
    digest.update(faces.emotion.astype("<i8").data)
    if faces.votes is not None:
        digest.update(np.ascontiguousarray(faces.votes).data)
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Shards:
    """A data set in a folder of shards, of which only what is needed is read.

    Attributes:
        root: the folder.
        index: what it holds.
    """

    root: Path
    index: Index

    @classmethod
    def open(cls, root: str | Path) -> Shards:
        """Read the index, and check that every file is there in its full length.

        Raises:
            DataError: where the folder has no index, or it is damaged, or a file is missing or cut off.
        """
        root = Path(root).expanduser().absolute()
        path = root / INDEX
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            mend = "Write one: mien data convert D OUT --to shards."
            raise DataError(f"this is no folder of shards (there is no {INDEX})", root, mend) from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the index cannot be read ({error})", path, _MEND) from error
        index = Index.from_text(text, path)
        for file in (file for split in index.splits.values() for file in split.files):
            path = root / file.name
            try:
                size = path.stat().st_size
            except OSError as error:
                raise DataError(f"the shard is missing ({error.strerror})", path, _MEND) from error
            if size != file.bytes:
                raise DataError(f"the shard has {size:,} bytes; it had {file.bytes:,} when written", path, _MEND)
        return cls(root, index)

    @property
    def name(self) -> str:
        """What to call the set."""
        return self.root.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, index by index."""
        return LABELS

    @property
    def fingerprint(self) -> str:
        """As :attr:`mien.data.Faces.fingerprint` of the same faces in memory."""
        return self.index.fingerprint

    def splits(self) -> dict[str, int]:
        """How many faces each split has; splits without faces are left out."""
        return {str(usage): self.index.splits[usage].rows for usage in USAGES if usage in self.index.splits}

    def __len__(self) -> int:
        return sum(self.splits().values())

    def label_counts(self, split: str) -> dict[str, int]:
        """How many faces of a split each class has, in the order of the classes.

        Raises:
            DataError: as :meth:`split`.
        """
        counts = np.sum([self.index.splits[usage].labels for usage in self._usages(split)], axis=0)
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def split(self, name: str) -> ShardSplit:
        """One split, to be read block by block.

        Raises:
            DataError: where there is no such split, or no face in it, or ``test`` is several.
        """
        first, *more = self._usages(name)
        if more:
            mend = f"Choose one of {', '.join(self.splits())}."
            raise DataError(f"{name} is made of several splits", self.name, mend)
        return ShardSplit(self, first)

    def select(self, split: str) -> Faces:
        """Read the faces of one split, all of them; ``split`` as for :meth:`mien.data.Faces.select`.

        Raises:
            DataError: where there is no such split, or no face in it, or a shard is damaged.
        """
        parts = [block for usage in self._usages(split) for block in ShardSplit(self, usage)]
        return join(parts, self.name)

    def _usages(self, split: str) -> list[Usage]:
        if split not in list(Usage):
            raise DataError(f"there is no split {split!r}", self.name, f"Choose one of {', '.join(Usage)}.")
        selected = USAGES[1:] if split == Usage.TEST else [Usage(split)]
        found = [usage for usage in selected if usage in self.index.splits]
        if not found:
            raise DataError(f"no faces in the split {split}", self.name, f"It has {', '.join(self.splits())}.")
        return found

    def clean(self, faces: Faces) -> NDArray[np.bool_]:
        """bool (N,): True where a face's pixels do not occur in Training, which is read once for it."""
        keys = pixel_keys(faces.images)
        unknown, copied = set(keys), set[bytes]()
        for block in self.split(Usage.TRAINING):
            copied |= unknown.intersection(pixel_keys(block.images))
        return np.array([key not in copied for key in keys], dtype=bool)


class ShardSplit:
    """One split of :class:`Shards`, read block by block; not for several threads at once.

    Args:
        shards: the folder.
        usage: one of its splits.
    """

    def __init__(self, shards: Shards, usage: Usage) -> None:
        self.shards, self.usage = shards, usage
        self.index, self.block = shards.index.splits[usage], shards.index.block
        self.labels, self.name, self.has_votes = shards.labels, shards.name, shards.index.votes
        self._blocks = [(file, inner) for file in self.index.files for inner in range(len(file.blocks))]
        self._open = lru_cache(_OPEN_FILES)(require("pyarrow.parquet", "train").ParquetFile)
        before = USAGES[: USAGES.index(usage)]
        self._first_row = sum(shards.splits().get(str(other), 0) for other in before)

    def __len__(self) -> int:
        return self.index.rows

    def __iter__(self) -> Iterator[Faces]:
        return map(self.read, range(len(self._blocks)))

    def label_counts(self) -> dict[str, int]:
        """How many faces each class has, in the order of the classes."""
        return dict(zip(self.labels, self.index.labels, strict=True))

    def read(self, number: int) -> Faces:
        """The faces of one block, which hold rows ``number * block`` and on of the split.

        Raises:
            DataError: where the file is damaged, with its path.
        """
        file, inner = self._blocks[number]
        path = self.shards.root / file.name
        columns = ["image", "emotion", *(VOTES if self.has_votes else [])]
        arrow = require("pyarrow", "train")
        try:
            table = self._open(path).read_row_group(inner, columns, use_threads=False)
            faces = self._to_faces(table, number)
        except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
            raise DataError(f"the shard is damaged ({str(error).splitlines()[0]})", path, _MEND) from error
        if block_digest(faces) != file.blocks[inner]:
            rows = f"{inner * self.block + 1:,} to {inner * self.block + len(faces):,}"
            raise DataError(f"the shard is damaged (its rows {rows} are not those that were written)", path, _MEND)
        return faces

    def _to_faces(self, table: Any, number: int) -> Faces:
        n, first = len(table), self._first_row + number * self.block
        if any(column.null_count for column in table.columns):
            raise ValueError("a column has gaps")
        files = np.frombuffer(b"".join(table["image"].to_pylist()), np.uint8).reshape(n, -1)  # (n, 13 + 2304)
        votes = [table[name].to_numpy().astype(np.uint8) for name in VOTES] if self.has_votes else []
        return Faces(
            images=files[:, len(PGM) :].reshape(-1, SIDE, SIDE),
            emotion=table["emotion"].to_numpy().astype(np.int64),
            usage=np.full(n, USAGES.index(self.usage), np.uint8),
            row=np.arange(first, first + n),
            votes=np.stack(votes, axis=1) if votes else None,
            name=self.name,
        )
