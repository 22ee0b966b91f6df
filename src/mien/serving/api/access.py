"""Who may ask, and how often: API keys and a token bucket for each."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from mien.errors import ServiceError

_LEAST = 16
_OWNERS = 10_000


class Keys:
    """The keys that the service accepts.

    Args:
        keys: each owner's key; owners, never keys, stand in logs.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = [(owner, _digest(key)) for owner, key in keys.items()]

    @classmethod
    def read(cls, path: str | Path) -> Keys:
        """Keys from a file: a line each, ``KEY`` or ``OWNER KEY``; empty lines and those that begin with # are skipped.

        Raises:
            ServiceError: where the file cannot be read, holds no key, a weak one, or one owner or key twice.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ServiceError(f"the keys cannot be read ({error})", path) from error
        found: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                owner, key = _parsed(line, f"{path}:{number}")
                if owner in found or key in found.values():
                    raise ServiceError("this owner or key was there before", f"{path}:{number}", "Leave one of them.")
                found[owner] = key
        if not found:
            raise ServiceError("there is no key in this file", path, "Write one key a line, as OWNER KEY.")
        return cls(found)

    def owner(self, key: str) -> str | None:
        """Whose key it is; None for a wrong one. The time does not tell how wrong it is."""
        digest, found = _digest(key), None
        for owner, one in self._digests:
            if hmac.compare_digest(one, digest):
                found = owner
        return found


def _parsed(line: str, where: str) -> tuple[str, str]:
    *owner, key = line.split()
    if len(owner) > 1:
        raise ServiceError("a line has one owner and one key", where, "Write: OWNER KEY.")
    if len(key) < _LEAST or not re.fullmatch(r"[!-~]+", key):
        mend = "Draw one: python -c 'import secrets; print(secrets.token_urlsafe(32))'."
        raise ServiceError(f"a key has at least {_LEAST} printable ASCII characters", where, mend)
    return (owner[0] if owner else f"line {where.rpartition(':')[2]}"), key


def _digest(key: str) -> bytes:
    """Of equal length for all keys, so that comparing does not tell a key's length."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class RateLimiter:
    """A token bucket for each owner: a request takes a token, and tokens come back at a steady rate.

    Args:
        rate: tokens a second; 0 sets no limit.
        burst: how many tokens a full bucket holds.
        clock: seconds, for tests.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, owner: str) -> float:
        """Take a token; 0 where there was one, else how many seconds until there is."""
        if not self.rate:
            return 0.0
        now = self._clock()
        tokens, then = self._buckets.pop(owner, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - then) * self.rate)
        granted = tokens >= 1
        self._buckets[owner] = (tokens - granted, now)
        if len(self._buckets) > _OWNERS:  # addresses are many; the one that was quiet longest is forgotten
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self.rate
