"""A request's body -> its images, in memory: nothing is ever written to disk, however large a part is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from mien.serving.api.problems import Problem
from mien.serving.settings import Settings

_RAW = "application/octet-stream"
_NAME_LENGTH = 255
CLOSE = {"Connection": "close"}
"""For answers to bodies that were not read to their end: the client need not send the rest."""


@dataclass(frozen=True)
class Upload:
    """An image as it came.

    Attributes:
        name: the last component of the name that the client gave; it never names a file here.
        data: the image file's bytes.
    """

    name: str
    data: bytes


class PendingUpload:
    """How many bytes of bodies wait for their answers, in all requests of this process.

    Args:
        limit: beyond it, requests are shed.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0

    def add(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            Problem: where there are too many; they are counted all the same, until :meth:`release`.
        """
        self.bytes += count
        if self.bytes > self.limit:
            raise Problem(
                "queue-full", "The bodies that wait fill the memory. Try again later.", {"Retry-After": "1"} | CLOSE
            )

    def release(self, count: int) -> None:
        """Count off bytes whose request has ended."""
        self.bytes -= count


async def read_body(request: Request, settings: Settings, take: Callable[[bytes], None]) -> None:
    """Hand every piece of a body to ``take`` as it comes.

    Raises:
        Problem: where it is too large, or takes too long to arrive.
    """
    size = 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > settings.body_bytes:
                    raise too_large(settings.body_bytes)
                take(piece)
    except TimeoutError as error:
        raise Problem("request-timeout", f"The body was not there after {settings.body_seconds:g} s.", CLOSE) from error


def too_large(limit: int) -> Problem:
    """The problem of a body above the limit, in bytes."""
    return Problem("body-too-large", f"A body has at most {limit:,} bytes here. Send fewer or smaller images.", CLOSE)


class Raw:
    """A body that is one image."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._data += piece

    def uploads(self) -> list[Upload]:
        """The image.

        Raises:
            Problem: where there was nothing.
        """
        if not self._data:
            raise Problem("no-image", "The body is empty. Send an image file's bytes.")
        return [Upload("", bytes(self._data))]


class Multipart:
    """A ``multipart/form-data`` body, whose every part is an image with a file name.

    Args:
        boundary: from the Content-Type.
        most: the most images.

    Raises:
        Problem: where the boundary is unusable.
    """

    def __init__(self, boundary: bytes, most: int) -> None:
        self._most, self._uploads, self._ended = most, list[Upload](), False
        self._field, self._value, self._headers = bytearray(), bytearray(), dict[bytes, bytes]()
        self._data, self._name = bytearray(), ""
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._opened,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._close,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise _malformed(error) from error

    def write(self, piece: bytes) -> None:
        """Take a piece of the body.

        Raises:
            Problem: where it is malformed, a part has no file name, or there are too many.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(error) from error

    def uploads(self) -> list[Upload]:
        """The images, in the order of the parts.

        Raises:
            Problem: where there is none, or the body ended early.
        """
        if not self._ended:
            raise _malformed("its end is missing")
        if not self._uploads:
            raise Problem("no-image", "The form has no part. Send each image as a part with a file name.")
        return self._uploads

    def _begin(self) -> None:
        if len(self._uploads) == self._most:
            raise Problem("too-many-images", f"A request has at most {self._most} images here.", CLOSE)
        self._headers, self._data = {}, bytearray()

    def _header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _opened(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"filename")
        if kind != b"form-data" or name is None:
            what = "a part has no file name; images have one, and settings go into the address"
            raise _malformed(what)
        self._name = clean_name(name.decode("utf-8", "replace"))

    def _close(self) -> None:
        self._uploads.append(Upload(self._name, bytes(self._data)))
        self._data = bytearray()

    def _end(self) -> None:
        self._ended = True


def clean_name(name: str) -> str:
    """A client's file name without folders and control characters, at most 255 characters long."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:_NAME_LENGTH].strip(". ")


def reader(content_type: str | None, settings: Settings) -> Raw | Multipart:
    """What reads a body of this Content-Type.

    Raises:
        Problem: where nothing does.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise _malformed("its Content-Type names no boundary")
        return Multipart(boundary, settings.images)
    if kind.startswith(b"image/") or kind == _RAW.encode():
        return Raw()
    raise Problem(
        "unsupported-media-type",
        f"Send an image as image/* or {_RAW}, or several as multipart/form-data.",
        {"Accept": f"image/*, {_RAW}, multipart/form-data"} | CLOSE,
    )


def _malformed(why: object) -> Problem:
    return Problem("bad-request", f"The form cannot be read: {why}.", CLOSE)
