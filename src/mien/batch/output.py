"""Where the scores go: a folder of chunks that says which job it belongs to, and one file made of them.

A folder's own files begin with an underscore, which readers of parquet folders ignore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien._utils.files import atomic, locked
from mien.batch.chunks import Chunk
from mien.batch.scorer import Job
from mien.batch.table import KEY, ChunkMetadata, Scored, read_metadata, schema
from mien.errors import DataError, require

JOB, MANIFEST, LOCK = "_job.json", "_manifest.json", "_lock"
_GROUP = 32_768
"""How many rows a row group of the one file has, at least."""
_ELSEWHERE = "Name another OUT, or remove this one."


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mend = "Make room or name another OUT; the same command then goes on."
        raise DataError(f"it cannot be written ({error.strerror or error})", error.filename or path, mend) from error


@contextmanager
def open_output(folder: Path, job: Job) -> Iterator[Output]:
    """The folder of a job's chunks, made where it is missing, and locked within the block against a second run.

    Raises:
        DataError: where the folder holds something else, another job's chunks, or another run writes to it; or where
            it cannot be written.
    """
    output = Output(folder, job)
    with ExitStack() as stack:
        with _writing(folder):
            _check_folder(folder, job)
            if not stack.enter_context(locked(folder / LOCK)):
                raise DataError("another mien score is writing here", folder, "Wait for it, or name another OUT.")
            for temporary in folder.glob(".part-*"):
                temporary.unlink()
            if not (folder / JOB).exists():
                _write_json(folder / JOB, {"format": 1, "model": job.bundle.card.name} | job.settings)
        yield output


def _check_folder(folder: Path, job: Job) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError("this is no folder", folder, "Name a folder, or a file that ends in .parquet.")
    files = [path for path in folder.glob("*") if path.name != LOCK]
    if files and not (folder / JOB).is_file():
        raise DataError("this folder holds other files", files[0], "Name a new or an empty folder.")
    if files:
        try:
            check_settings(json.loads((folder / JOB).read_text(encoding="utf-8")), job, folder)
        except (ValueError, AttributeError) as error:
            raise DataError("this file is damaged", folder / JOB, _ELSEWHERE) from error


@dataclass(frozen=True)
class Output:
    """A folder of a job's chunks, as :func:`open_output` gives it."""

    folder: Path
    job: Job

    def path(self, number: int) -> Path:
        """A chunk's file."""
        return self.folder / f"part-{number:08}.parquet"

    def done(self, chunk: Chunk) -> ChunkMetadata | None:
        """What a chunk's footer says; None where it is to be scored, a DataError where the input has other rows now."""
        path = self.path(chunk.number)
        found = read_metadata(path)
        if found is None or found.job != self.job.digest:
            return None
        expected = (chunk.number, chunk.first, chunk.rows, chunk.digest)
        if (found.number, found.first, found.rows, found.input) != expected:
            raise DataError("the input is not what it was when these rows were scored", path, _ELSEWHERE)
        return found

    def write(self, scored: Scored) -> None:
        """Write a chunk; it appears whole or not at all."""
        path = self.path(scored.number)
        with _writing(path):
            (self.folder / MANIFEST).unlink(missing_ok=True)
            with atomic(path) as temporary:
                temporary.write_bytes(scored.data)

    def finish(self, figures: dict[str, Any], merged: Path | None) -> None:
        """Write the manifest, which says that all rows are there, and make one file of all where a path is given.

        Raises:
            DataError: where there are other chunks, a chunk is damaged, or the disk cannot be written.
        """
        more = sum(1 for _ in self.folder.glob("part-*.parquet")) - figures["chunks"]
        if more:
            raise DataError(f"it holds {more:,} chunks more than the input has", self.folder, _ELSEWHERE)
        with _writing(self.folder):
            _write_json(self.folder / MANIFEST, figures)
        if merged is not None:
            self._merge(merged, figures)

    def _merge(self, path: Path, figures: dict[str, Any]) -> None:
        """Make one file of the chunks, in order, and remove them; a row group is held at a time."""
        arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
        footer = json.dumps({"model": self.job.bundle.card.name} | self.job.settings | figures)
        columns = schema(self.job.bundle.card.labels).with_metadata({KEY: footer})
        with (
            _writing(path), atomic(path) as temporary,
            parquet.ParquetWriter(temporary, columns, write_page_checksum=True) as writer,
        ):  # fmt: skip
            tables: list[Any] = []
            for number in range(figures["chunks"]):
                tables.append(_read(self.path(number)).replace_schema_metadata(columns.metadata))
                if number == figures["chunks"] - 1 or sum(map(len, tables)) >= _GROUP:
                    writer.write_table(arrow.concat_tables(tables))
                    tables.clear()
        with _writing(self.folder):
            for left in self.folder.iterdir():
                left.unlink()
            self.folder.rmdir()


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def check_settings(found: dict[str, Any], job: Job, path: Path) -> None:
    """Raise a DataError where another model, input or other settings have begun what is there."""
    settings = job.settings
    if found.get("sha256") != settings["sha256"]:
        model = f"{found.get('model', 'unknown')}, SHA-256 {str(found.get('sha256'))[:16]}…"
        raise DataError(f"it holds the scores of another model ({model})", path, _ELSEWHERE)
    if found.get("input") != settings["input"]:
        raise DataError(f"it holds the scores of another input ({found.get('input')})", path, _ELSEWHERE)
    for name, value in settings.items():
        if (before := found.get(name)) != value:
            mend = f"Leave --{name} away" if before is None else f"Add --{name} {before}"
            begun = f"without --{name}" if before is None else f"with --{name} {before}, not {value}"
            raise DataError(f"it was begun {begun}", path, f"{mend} to go on with it. {_ELSEWHERE}")


def read_merged(path: Path) -> dict[str, Any] | None:
    """What the footer of the one file says of its job; None where there is none, a DataError where it is no such."""
    if not path.exists():
        return None
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    try:
        found: dict[str, Any] = json.loads(parquet.read_metadata(path).metadata[KEY])
        return {name: found[name] for name in ("rows", "errors", "chunks", "plan")} | found
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError("this file is there and holds no scores", path, _ELSEWHERE) from error


def _read(path: Path) -> Any:
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    try:
        return parquet.read_table(path, page_checksum_verification=True, use_threads=False)
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise DataError("this chunk is damaged", path, "Remove it and run the same command again.") from error
