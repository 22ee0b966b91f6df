"""Where the scores go: a folder of parts that says which job it belongs to, and one file made of them.

A folder's own files begin with an underscore, which readers of parquet folders pass over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mien._utils.files import atomic
from mien.batch.chunks import Part
from mien.batch.scorer import Job
from mien.batch.table import MARK, ChunkMetadata, Scored, read_stamp, schema
from mien.errors import DataError, require

JOB, MANIFEST, LOCK = "_job.json", "_manifest.json", "_lock"
_GROUP = 32_768
"""How many rows a row group of the one file has, at least."""
_ELSEWHERE = "Name another OUT, or remove this one."


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What cannot be written is one error.

    Raises:
        DataError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        mend = "Make room or name another OUT; the same command then goes on."
        raise DataError(f"it cannot be written ({error.strerror or error})", error.filename or path, mend) from error


class Output:
    """The folder of a job's parts; locked while the block runs, so that two runs do not write it at once.

    Args:
        folder: the folder; made where it is missing.
        job: the model and the settings.

    Raises:
        DataError: where the folder holds something else, another job's parts, or another run is at it; or where it
            cannot be written.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder, self._job = folder, job
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Output:
        with writing(self.folder):
            self._check()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder / LOCK)
            for left in self.folder.glob(".part-*"):
                left.unlink()
            if not (self.folder / JOB).exists():
                self._write_json(JOB, {"format": 1, "model": self._job.bundle.card.name} | self._job.settings)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _check(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise DataError("this is no folder", self.folder, "Name a folder, or a file that ends in .parquet.")
        held = [path for path in self.folder.glob("*") if path.name != LOCK] if self.folder.exists() else []
        if held and not (self.folder / JOB).is_file():
            raise DataError("this folder holds other files", held[0], "Name a new or an empty folder.")
        if held:
            check_settings(_read_json(self.folder / JOB), self._job, self.folder)

    def path(self, number: int) -> Path:
        """Where a part lies."""
        return self.folder / f"part-{number:08}.parquet"

    def done(self, part: Part) -> ChunkMetadata | None:
        """What a part's footer tells where it was written whole; None where it is to be scored.

        Raises:
            DataError: where it holds other rows than the input has there now.
        """
        path = self.path(part.number)
        stamp = read_stamp(path) if path.exists() else None
        if stamp is None or stamp.job != self._job.digest:
            return None
        if (stamp.part, stamp.first, stamp.rows, stamp.input) != (part.number, part.first, part.rows, part.digest):
            raise DataError("the input is not what it was when these rows were scored", path, _ELSEWHERE)
        return stamp

    def write(self, scored: Scored) -> None:
        """Write a part; it appears whole or not at all."""
        path = self.path(scored.number)
        with writing(path):
            (self.folder / MANIFEST).unlink(missing_ok=True)
            with atomic(path) as temporary:
                temporary.write_bytes(scored.data)

    def finish(self, parts: int, figures: dict[str, Any]) -> None:
        """Write the manifest, which says that all is there.

        Raises:
            DataError: where the folder holds parts of rows that the input does not have.
        """
        more = sum(1 for _ in self.folder.glob("part-*.parquet")) - parts
        if more:
            raise DataError(f"it holds {more:,} parts more than the input has", self.folder, _ELSEWHERE)
        with writing(self.folder):
            self._write_json(MANIFEST, figures)

    def merge(self, parts: int, path: Path, figures: dict[str, Any]) -> None:
        """Make one file of the parts, in order, and remove them; a few row groups are held at a time.

        Raises:
            DataError: where a part is damaged, or the file cannot be written.
        """
        arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
        mark = json.dumps({"model": self._job.bundle.card.name} | self._job.settings | figures)
        columns = schema(self._job.bundle.card.labels).with_metadata({MARK: mark})
        with (
            writing(path), atomic(path) as temporary,
            parquet.ParquetWriter(temporary, columns, write_page_checksum=True) as writer,
        ):  # fmt: skip
            waiting: list[Any] = []
            for number in range(parts):
                waiting.append(_read_part(self.path(number)).replace_schema_metadata(columns.metadata))
                if number == parts - 1 or sum(map(len, waiting)) >= _GROUP:
                    writer.write_table(arrow.concat_tables(waiting))
                    waiting.clear()
        with writing(self.folder):
            for left in self.folder.iterdir():
                left.unlink()
            self.folder.rmdir()

    def _write_json(self, name: str, value: dict[str, Any]) -> None:
        with atomic(self.folder / name) as temporary:
            temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def check_settings(found: dict[str, Any], job: Job, place: Path) -> None:
    """Refuse to go on with what another model, input or other settings have begun.

    Raises:
        DataError: where they differ.
    """
    wanted = job.settings
    if found.get("sha256") != wanted["sha256"]:
        model = f"{found.get('model', 'unknown')}, SHA-256 {str(found.get('sha256'))[:16]}…"
        raise DataError(f"it holds the scores of another model ({model})", place, _ELSEWHERE)
    if found.get("input") != wanted["input"]:
        raise DataError(f"it holds the scores of another input ({found.get('input')})", place, _ELSEWHERE)
    for name, value in wanted.items():
        if found.get(name) != value:
            before = found.get(name)
            mend = f"Leave --{name} away" if before is None else f"Add --{name} {before}"
            begun = f"without --{name}" if before is None else f"with --{name} {before}, not {value}"
            raise DataError(f"it was begun {begun}", place, f"{mend} to go on with it. {_ELSEWHERE}")


def merged(path: Path) -> dict[str, Any] | None:
    """What the footer of the one file tells of its job; None where there is no such file.

    Raises:
        DataError: where the file is something else.
    """
    if not path.exists():
        return None
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    try:
        told: dict[str, Any] = json.loads(parquet.read_metadata(path).metadata[MARK])
        return {name: told[name] for name in ("rows", "errors", "parts", "plan")} | told
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError("this file is there and holds no scores", path, _ELSEWHERE) from error


def _read_part(path: Path) -> Any:
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    try:
        return parquet.read_table(path, page_checksum_verification=True, use_threads=False)
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise DataError("this part is damaged", path, "Remove it and run the same command again.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError("this file is damaged", path, _ELSEWHERE) from error
    if not isinstance(found, dict):
        raise DataError("this file is damaged", path, _ELSEWHERE)
    return found


def _locked(path: Path) -> IO[bytes]:
    """A lock that the system takes back when the process ends, however it ends; on Windows there is none."""
    file = path.open("wb")
    try:
        import fcntl
    except ImportError:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise DataError(
            "another mien score is writing here", path.parent, "Wait for it, or name another OUT."
        ) from error
    return file
