"""A request's body -> its images, in memory: nothing is ever written to disk, however large a part is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mien.serving.api.problems import Problem
from mien.serving.settings import Settings

_RAW = "application/octet-stream"
_NAME_LENGTH = 255
_CLOSE = {"Connection": "close"}  # the rest of a refused body is not read


class Upload(NamedTuple):
    """An uploaded image.

    Attributes:
        name: the last component of the client's file name, which never names a file here; None where the image is the
            whole body.
        data: the image file's bytes.
    """

    name: str | None
    data: bytes


class MemoryLimit:
    """The bytes of all bodies that this process holds until their requests are answered.

    Args:
        limit: beyond it, requests are refused.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    @contextmanager
    def reservation(self) -> Iterator[Callable[[int], None]]:
        """A function that counts a request's bytes as they arrive, until the block ends.

        Raises:
            Problem: from that function, where all requests together exceed the limit.
        """
        reserved = 0

        def reserve(count: int) -> None:
            nonlocal reserved
            reserved += count
            self.used += count
            if self.used > self.limit:
                detail = "The waiting requests fill the memory. Try again later."
                raise Problem("queue-full", detail, {"Retry-After": "1"} | _CLOSE)

        try:
            yield reserve
        finally:
            self.used -= reserved


async def read_uploads(request: Request, settings: Settings, reserve: Callable[[int], None]) -> list[Upload]:
    """The images of a request: its body, or the parts of its ``multipart/form-data`` in their order.

    Args:
        request: its size is limited by :class:`mien.serving.api.middleware.Middleware`.
        settings: the limits on time and number.
        reserve: called with the size of every piece of the body.

    Raises:
        Problem: where the body is malformed, empty, of another kind or too slow, or holds too many images.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not (is_form or kind == _RAW or kind.startswith("image/")):
        detail = f"Send an image as image/* or {_RAW}, or several as multipart/form-data."
        raise Problem("unsupported-media-type", detail, {"Accept": f"image/*, {_RAW}, multipart/form-data"} | _CLOSE)

    async def pieces() -> AsyncGenerator[bytes, None]:
        async for piece in request.stream():
            reserve(len(piece))
            yield piece

    try:
        async with asyncio.timeout(settings.body_seconds):
            if is_form:
                return await _Form(request.headers, pieces(), max_files=settings.images, max_fields=0).uploads()
            data = b"".join([piece async for piece in pieces()])
    except TimeoutError as error:
        detail = f"The body did not arrive within {settings.body_seconds:g} s."
        raise Problem("request-timeout", detail, _CLOSE) from error
    if not data:
        raise Problem("no-image", "The body is empty. Send an image file's bytes.")
    return [Upload(None, data)]


class _Form(MultiPartParser):
    """Starlette's reader of forms, which here keeps parts of any size in memory and requires the form's end."""

    spool_max_size = 0  # no size is written to disk
    _ended = False

    def on_part_begin(self) -> None:
        if len(self.items) == self.max_files:
            raise Problem("too-many-images", f"A request has at most {self.max_files} images here.", _CLOSE)
        super().on_part_begin()

    def on_end(self) -> None:
        self._ended = True

    async def uploads(self) -> list[Upload]:
        try:
            await self.parse()
            if not self._ended:
                raise MultiPartException("Its end is missing.")
        except (MultiPartException, FormParserError) as error:
            why = getattr(error, "message", error)
            detail = f"The form cannot be read: {why} Each part is an image with a file name."
            raise Problem("bad-request", detail, _CLOSE) from error
        if not self.items:
            raise Problem("no-image", "The form has no part. Send each image as a part with a file name.")
        files = (file for _, file in self.items if isinstance(file, UploadFile))
        return [Upload(clean_name(file.filename or ""), file.file.read()) for file in files]


def clean_name(name: str) -> str:
    """A client's file name without folders and control characters, at most 255 characters long."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable())[:_NAME_LENGTH].strip(". ")
