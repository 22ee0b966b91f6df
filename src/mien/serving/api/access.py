"""Who may send requests, and how often: API keys, and a token bucket for each client."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from mien.errors import ServiceError

_MIN_LENGTH = 16
_MAX_CLIENTS = 10_000


class Keys:
    """The keys that the service accepts.

    Args:
        keys: each owner's key; logs name owners, never keys.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = [(owner, _digest(key)) for owner, key in keys.items()]

    @classmethod
    def read(cls, path: str | Path) -> Keys:
        """Keys from a file: a line each, ``KEY`` or ``OWNER KEY``; empty lines and those that begin with # are skipped.

        Raises:
            ServiceError: where the file cannot be read, has no key, a weak one, or one owner or key twice.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ServiceError(f"the keys cannot be read ({error})", path) from error
        keys: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                where = f"{path}:{number}"
                *names, key = line.split()
                owner = names[0] if names else f"line {number}"
                if len(names) > 1:
                    raise ServiceError("a line has one owner and one key", where, "Write: OWNER KEY.")
                if len(key) < _MIN_LENGTH or not re.fullmatch(r"[!-~]+", key):
                    mend = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'."
                    raise ServiceError(f"a key has at least {_MIN_LENGTH} printable ASCII characters", where, mend)
                if owner in keys or key in keys.values():
                    raise ServiceError("this owner or key was there before", where, "Leave one of them.")
                keys[owner] = key
        if not keys:
            raise ServiceError("there is no key in this file", path, "Write one key a line, as OWNER KEY.")
        return cls(keys)

    def owner(self, key: str) -> str | None:
        """The owner of a key; None for a wrong one. The time it takes does not depend on how wrong the key is."""
        digest = _digest(key)
        owners = [owner for owner, known in self._digests if hmac.compare_digest(known, digest)]
        return owners[0] if owners else None


def _digest(key: str) -> bytes:
    """Of one length for all keys, so that the time of a comparison does not depend on a key's length."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class RateLimiter:
    """A token bucket for each client: a request takes a token, and tokens return at a steady rate.

    Args:
        rate: tokens per second; 0 sets no limit.
        burst: how many tokens a full bucket holds.
        clock: seconds, for tests.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token; 0 where there was one, else in how many seconds there is one."""
        if not self.rate:
            return 0.0
        now = self._clock()
        tokens, last = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - last) * self.rate)
        granted = tokens >= 1
        self._buckets[client] = (tokens - granted, now)
        if len(self._buckets) > _MAX_CLIENTS:  # addresses are many; the least recent is dropped
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self.rate
